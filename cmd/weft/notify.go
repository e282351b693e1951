package main

import (
	"fmt"
	"net"
	"os"
)

// notify tells systemd how far the daemon is: READY=1 or STOPPING=1
// (sd_notify(3)). Where nobody wants to know, NOTIFY_SOCKET is not set and
// nothing happens.
func notify(state string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"}) // '@' is an abstract name's, as there
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}
