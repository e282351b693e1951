package main

import (
	"errors"
	"log/slog"
	"net"

	"weft/internal/api"
)

// door is where the daemon answers: its socket, made anew when the file is gone.
// One goroutine uses it.
type door struct {
	sock   *api.Socket
	srv    *api.Server
	log    *slog.Logger
	served chan error // has why the server stopped; room for one
	said   string     // trouble that stands in the log already
}

// open answers on the socket until it is closed.
func (d *door) open() {
	go func(sock *api.Socket) { // ends when sock is closed, which the server's Close does too
		err := d.srv.Serve(sock)
		if errors.Is(err, net.ErrClosed) { // another socket has taken its place
			return
		}
		select {
		case d.served <- err:
		default:
		}
	}(d.sock)
}

// look makes the socket again where its file was deleted. What else is at the
// path is left alone, and said once.
func (d *door) look() {
	if d.sock.Reachable() {
		d.said = ""
		return
	}
	again, err := d.sock.Again()
	if err != nil {
		if d.said != err.Error() {
			d.said = err.Error()
			d.log.Warn("socket is gone: no command reaches this switch", "err", err)
		}
		return
	}
	if err := d.sock.Close(); err != nil {
		d.log.Warn("former socket was not closed", "err", err)
	}
	d.sock, d.said = again, ""
	d.log.Warn("socket was deleted: made again", "socket", again.Path())
	d.open()
}
