package hostnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

const (
	maxSessions = 1024             // of one listener at a time
	dialTimeout = 10 * time.Second // of a connection to the container
	udpIdle     = time.Minute      // after which a silent UDP session ends (RFC 4787 section 4.3 asks for 2 minutes of a NAT; local clients ask again)
)

// Listener holds a port of the host, so that nothing else takes it, and leads the
// host's own clients to a container: what comes in from elsewhere is led there by
// the rules, and never gets here. Its methods may be called from any goroutine.
type Listener struct {
	proto  string
	host   netip.Addr
	port   uint16
	target Target

	tcp net.Listener
	udp *net.UDPConn

	dialling context.Context // ends with Close
	hangUp   context.CancelFunc

	running sync.WaitGroup // accept or read loop, and sessions
	mu      sync.Mutex     // guards the following
	closed  bool
	open    map[io.Closer]struct{} // connections of sessions
}

// Target returns where a client's bytes go now, preferably by the client's version
// of IP; invalid: nowhere. It is called for each session.
type Target func(client netip.Addr) netip.AddrPort

// Listen takes a port of the host, on one address or, where host is invalid, on
// every one. A port that is taken is an error.
func Listen(proto string, host netip.Addr, port uint16, target Target) (*Listener, error) {
	l := &Listener{proto: proto, host: host, port: port, target: target, open: map[io.Closer]struct{}{}}
	l.dialling, l.hangUp = context.WithCancel(context.Background())
	at := fmt.Sprintf(":%d", port)
	if host.IsValid() {
		at = netip.AddrPortFrom(host, port).String()
	}
	err := l.listen(at)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("port %d/%s of the host is taken: choose another, or stop what has it (ss -%slnp sport = %d)", port, proto, proto[:1], port)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%s is not an address of this host", host)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("port %d/%s of the host: %w: it needs CAP_NET_BIND_SERVICE", port, proto, errno(err))
	case err != nil:
		return nil, fmt.Errorf("listen on port %d/%s: %w", port, proto, errno(err))
	}
	return l, nil
}

func (l *Listener) listen(at string) error {
	if l.proto == "udp" {
		c, err := net.ListenPacket("udp", at)
		if err != nil {
			return err
		}
		l.udp = c.(*net.UDPConn)
		if err := l.wantLocalAddr(); err != nil {
			return errors.Join(err, l.udp.Close())
		}
		l.running.Go(l.readLoop) // ends with Close
		return nil
	}
	var err error
	if l.tcp, err = net.Listen("tcp", at); err != nil {
		return err
	}
	l.running.Go(l.acceptLoop) // ends with Close
	return nil
}

// Close frees the port and ends every session.
func (l *Listener) Close() error {
	l.hangUp()
	l.mu.Lock()
	l.closed = true
	open := l.open
	l.open = map[io.Closer]struct{}{}
	l.mu.Unlock()
	var err error
	if l.tcp != nil {
		err = l.tcp.Close()
	} else {
		err = l.udp.Close()
	}
	for c := range open {
		_ = c.Close() // ends its session
	}
	l.running.Wait()
	return err
}

// hold notes connections that Close must close, and reports whether they may go on.
func (l *Listener) hold(conns ...io.Closer) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.open)+len(conns) > 2*maxSessions {
		return false
	}
	for _, c := range conns {
		l.open[c] = struct{}{}
	}
	return true
}

// release closes connections and forgets them.
func (l *Listener) release(conns ...io.Closer) {
	l.mu.Lock()
	for _, c := range conns {
		delete(l.open, c)
	}
	l.mu.Unlock()
	for _, c := range conns {
		_ = c.Close() // done with, however it ended
	}
}

// dial opens a session's way to the container.
func (l *Listener) dial(client netip.Addr) (net.Conn, error) {
	to := l.target(client)
	if !to.IsValid() {
		return nil, errors.New("its target is not attached")
	}
	ctx, cancel := context.WithTimeout(l.dialling, dialTimeout)
	defer cancel()
	return new(net.Dialer).DialContext(ctx, l.proto, to.String())
}

func (l *Listener) acceptLoop() {
	for {
		c, err := l.tcp.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // too many open files: others end
			time.Sleep(10 * time.Millisecond)
			continue
		}
		client := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		if !isOwn(client) || !l.hold(c) {
			_ = c.Close() // refused
			continue
		}
		l.running.Go(func() { l.session(c, client) }) // ends with either side, or with Close
	}
}

// session carries bytes both ways until both sides are done.
func (l *Listener) session(c net.Conn, client netip.Addr) {
	defer l.release(c)
	far, err := l.dial(client)
	if err != nil {
		return
	}
	if !l.hold(far) {
		_ = far.Close() // refused
		return
	}
	defer l.release(far)
	done := make(chan struct{})
	go func() { // ends with far, which release closes at the latest
		defer close(done)
		pipe(c, far)
	}()
	pipe(far, c)
	<-done
}

// pipe copies what src sends, and its end, to dst. When dst is gone, src is told.
func pipe(dst, src net.Conn) {
	if _, err := io.Copy(dst, src); err != nil {
		_ = src.Close() // either is broken
		_ = dst.Close()
		return
	}
	_ = dst.(*net.TCPConn).CloseWrite() // broken: the other way will notice
}

// isOwn reports whether a is an address of this host: a client elsewhere was not
// led by the rules, since they are being put back, and must not appear to come
// from the host.
func isOwn(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, have := range addrs {
		if p, err := netip.ParsePrefix(have.String()); err == nil && p.Addr().Unmap() == a.WithZone("") {
			return true
		}
	}
	return false
}
