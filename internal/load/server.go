package load

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

// sessions is how many tests a server runs at a time.
const sessions = 4

// Server takes part in tests until it is closed.
type Server struct {
	place Place
	ln    *net.TCPListener
	stop  chan struct{} // closed by Close
	free  chan struct{} // one item for each session that may begin
	wait  sync.WaitGroup

	mu    sync.Mutex                  // guards the following
	tests map[uint64]chan<- *dataConn // by token
	conns map[net.Conn]struct{}       // of control and those not yet known
}

// dataConn is a connection that named a test.
type dataConn struct {
	socket
	way byte
}

// Serve listens on addr inside place; port 0 takes a free one. congestion is that of
// the streams that the server sends, as Client.Congestion. Close ends it.
func Serve(ctx context.Context, place Place, addr netip.AddrPort, congestion string) (*Server, error) {
	s := &Server{place: place, stop: make(chan struct{}), free: make(chan struct{}, sessions), tests: map[uint64]chan<- *dataConn{}, conns: map[net.Conn]struct{}{}}
	for range sessions {
		s.free <- struct{}{}
	}
	err := place.do(func() error {
		lc := net.ListenConfig{Control: setCongestion(congestion)} // those accepted inherit it
		lc.SetMultipathTCP(false)
		ln, err := lc.Listen(ctx, "tcp", addr.String())
		if err == nil {
			s.ln = ln.(*net.TCPListener)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("serve tests: %w", err)
	}
	s.wait.Go(s.accept) // ends with the listener
	return s, nil
}

// Addr is where it listens.
func (s *Server) Addr() netip.AddrPort { return s.ln.Addr().(*net.TCPAddr).AddrPort() }

// Close ends all tests and waits for them.
func (s *Server) Close() {
	s.mu.Lock()
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	_ = s.ln.Close()
	s.wait.Wait()
}

func (s *Server) accept() {
	for {
		conn, err := s.ln.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // too many descriptors, or a client that left
			time.Sleep(tick)
			continue
		}
		s.mu.Lock()
		if ended(s.stop) {
			_ = conn.Close()
		} else {
			s.conns[conn] = struct{}{}
			s.wait.Go(func() { s.greet(conn) }) // ends with the connection
		}
		s.mu.Unlock()
	}
}

// greet finds out what a connection is for: a test begins with JSON, data with
// the token of a test.
func (s *Server) greet(conn *net.TCPConn) {
	defer func() {
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
		_ = conn.Close()
	}()
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	first := make([]byte, 1)
	if _, err := conn.Read(first); err != nil {
		return
	}
	if first[0] == '{' {
		s.control(conn, first)
		return
	}
	head := make([]byte, tokenLen)
	if _, err := readFull(conn, head); err != nil {
		return
	}
	s.mu.Lock()
	test := s.tests[binary.BigEndian.Uint64(head)]
	s.mu.Unlock()
	if test == nil {
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	if sock, err := take(conn); err == nil {
		select {
		case test <- &dataConn{sock, first[0]}:
		default: // more than it asked for
			sock.close()
		}
	}
}

func readFull(conn net.Conn, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = conn.Read(b[n:])
		n += m
	}
	return n, err
}

// control runs one test.
func (s *Server) control(conn *net.TCPConn, first []byte) {
	select {
	case <-s.free:
		defer func() { s.free <- struct{}{} }()
	case <-s.stop:
		return
	case <-time.After(5 * time.Second):
		_ = json.NewEncoder(conn).Encode(accepted{Error: "the server is busy with other tests"})
		return
	}
	line, err := bufio.NewReaderSize(conn, 1024).ReadSlice('\n')
	if err != nil {
		return
	}
	var r request
	if err := json.Unmarshal(append(first, line...), &r); err == nil {
		err = r.check()
		if err == nil {
			err = s.test(conn, r)
		}
		if err != nil {
			_ = json.NewEncoder(conn).Encode(accepted{Error: err.Error()})
		}
	}
}

// test answers a request, takes part, and says what came in. An error means
// that it did not begin.
func (s *Server) test(conn *net.TCPConn, r request) error {
	token := rand.Uint64() | 1<<63
	if r.Test == "udp" {
		return s.flood(conn, r, token)
	}
	want := r.Up + r.Down
	if r.Test == "echo" {
		want = 1
	}
	arrivals := make(chan *dataConn, want)
	s.mu.Lock()
	s.tests[token] = arrivals
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.tests, token)
		s.mu.Unlock()
	}()
	if err := json.NewEncoder(conn).Encode(accepted{Token: token}); err != nil {
		return nil
	}
	var conns []*dataConn
	defer func() {
		for _, c := range conns {
			c.close()
		}
	}()
	for deadline := time.After(10 * time.Second); len(conns) < want; {
		select {
		case c := <-arrivals:
			conns = append(conns, c)
		case <-s.stop:
			return nil
		case <-deadline:
			return nil
		}
	}
	_ = json.NewEncoder(conn).Encode(s.exchange(r, conns))
	return nil
}

// exchange gives and takes on the connections of a test.
func (s *Server) exchange(r request, conns []*dataConn) (sum taken) {
	defer makeRoom(len(conns))()
	w := r.window(time.Now())
	var all []chan struct{}
	results := make([]taken, len(conns))
	for i, c := range conns {
		all = append(all, onThread(func() {
			switch c.way {
			case wayUp:
				results[i] = takeStream(c.socket, w, s.stop)
				c.close() // the giver notices
				c.fd = -1
			case wayDown:
				giveStream(c.socket, w, s.stop)
			case wayEcho:
				echo(c.socket, r.Size, w.to.Add(time.Second), s.stop)
			}
		}))
	}
	for i, done := range all {
		<-done
		sum.add(results[i])
	}
	return sum
}

// flood counts datagrams on a port of its own.
func (s *Server) flood(conn *net.TCPConn, r request, token uint64) error {
	var pc *net.UDPConn
	err := s.place.do(func() (err error) {
		local := conn.LocalAddr().(*net.TCPAddr)
		pc, err = net.ListenUDP("udp", &net.UDPAddr{IP: local.IP, Zone: local.Zone})
		return err
	})
	if err != nil {
		return fmt.Errorf("listen for datagrams: %w", err)
	}
	port := pc.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	sock, err := take(pc)
	if err != nil {
		return err
	}
	defer sock.close()
	var t taken
	defer makeRoom(1)()
	done := onThread(func() { t = takeFlood(sock, r, token, s.stop) })
	if err := json.NewEncoder(conn).Encode(accepted{Token: token, Port: port}); err != nil {
		// The client is gone; the flood that never comes ends by itself.
		<-done
		return nil
	}
	<-done
	_ = json.NewEncoder(conn).Encode(t)
	return nil
}
