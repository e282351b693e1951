package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"golang.org/x/net/netutil"

	"weft/internal/spec"
)

// Bounds of what clients can make the server hold.
const (
	maxConns  = 64
	maxBody   = 4 << 20 // bytes: a file of spec.ConfigMax as JSON, escapes and all
	maxHeader = 16 << 10

	maxTable  = 256 << 20 // bytes of a file of routes: some millions
	tableTime = 2 * time.Minute
)

// Server answers the API for one Control.
type Server struct {
	control Control
	log     *slog.Logger
	http    *http.Server
}

// NewServer returns a server that does not listen yet.
func NewServer(c Control, log *slog.Logger) *Server {
	s := &Server{control: c, log: log}
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      2 * time.Minute, // an attach waits its turn behind others
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	return s
}

// Serve answers on ln until Close, and then returns nil. It closes ln.
func (s *Server) Serve(ln net.Listener) error {
	if err := s.http.Serve(netutil.LimitListener(ln, maxConns)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Close closes the listener, lets running requests end until ctx does, and
// then cuts them off.
func (s *Server) Close(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return s.http.Close()
	}
	return nil
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for _, rt := range slices.Concat(routes, hostRoutes) {
		mux.HandleFunc(rt.pattern, func(w http.ResponseWriter, r *http.Request) { s.serve(rt, w, r) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusNotFound, failure{r.Method + " " + r.URL.Path + " is not part of the API"})
	})
	return mux
}

// failure is how an error travels.
type failure struct {
	Error string `json:"error"`
}

func (s *Server) serve(rt route, w http.ResponseWriter, r *http.Request) {
	if rt.pattern == tablePattern {
		r.Body = http.MaxBytesReader(w, r.Body, maxTable)
		conn := http.NewResponseController(w)
		_ = conn.SetReadDeadline(time.Now().Add(tableTime)) // else it is cut off after the usual time
		_ = conn.SetWriteDeadline(time.Now().Add(2 * tableTime))
	} else {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	}
	var got any
	err := checkQuery(r, rt.query)
	if err == nil {
		got, err = rt.handle(s.control, r)
	}
	var bad requestError
	switch {
	case errors.As(err, &bad):
		answer(w, http.StatusBadRequest, failure{err.Error()})
	case err != nil:
		s.log.Debug("request refused", "request", rt.pattern, "err", err)
		answer(w, http.StatusConflict, failure{err.Error()})
	case got == nil:
		answer(w, http.StatusOK, struct{}{})
	default:
		if rows, ok := got.(iter.Seq[spec.RouteStatus]); ok {
			answerRows(w, rows)
			return
		}
		answer(w, http.StatusOK, got)
	}
}

// answerRows sends a list that may be very long row by row: as one piece it would
// be in memory several times.
func answerRows(w http.ResponseWriter, rows iter.Seq[spec.RouteStatus]) {
	w.Header().Set("Content-Type", "application/json")
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	before := byte('[')
	for row := range rows {
		_ = out.WriteByte(before)
		if enc.Encode(&row) != nil { // the client went away
			return
		}
		before = ','
	}
	if before == '[' {
		_ = out.WriteByte(before)
	}
	_, _ = out.WriteString("]\n")
	_ = out.Flush()
}

// answer sends v. A client that went away is nobody's fault.
func answer(w http.ResponseWriter, code int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		code, b = http.StatusInternalServerError, []byte(`{"error":"print answer: it has no JSON form"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(b, '\n'))
}
