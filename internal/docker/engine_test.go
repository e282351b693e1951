package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/internal/control"
)

// fakeEngine answers at a socket of its own as Docker 20.10 does, and returns an
// Engine that asks it.
func fakeEngine(t *testing.T, containers map[string]string, events func(w http.ResponseWriter, r *http.Request)) *Engine {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Api-Version", "1.41") })
	mux.HandleFunc("/v1.41/containers/{name}/json", func(w http.ResponseWriter, r *http.Request) {
		body, ok := containers[r.PathValue("name")]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			body = `{"message":"No such container"}`
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, body)
	})
	if events != nil {
		mux.HandleFunc("/v1.41/events", events)
	}
	srv := &http.Server{Handler: mux}
	go srv.Serve(l) // ends with Close
	t.Cleanup(func() { srv.Close() })
	return &Engine{"unix://" + path}
}

func inspected(id, name, state string, pid int, network string) string {
	return fmt.Sprintf(`{"Id":%q,"Name":"/%s","State":{"Status":%q,"Pid":%d},"HostConfig":{"NetworkMode":%q}}`, id, name, state, pid, network)
}

func TestFind(t *testing.T) {
	web := inspected("aaaa", "web", "running", 42, "none")
	e := fakeEngine(t, map[string]string{
		"web": web, "aaaa": web,
		"side":  inspected("bbbb", "side", "running", 43, "container:aaaa"),
		"third": inspected("dddd", "third", "running", 44, "container:side"),
		"idle":  inspected("cccc", "idle", "exited", 0, "none"),
		"loop":  inspected("eeee", "loop", "running", 45, "container:loop"),
	}, nil)
	up := control.Container{ID: "aaaa", Name: "web", State: "running", PID: 42}
	for ref, want := range map[string]control.Container{"web": up, "side": up, "third": up, "idle": {ID: "cccc", Name: "idle", State: "exited"}} {
		if got, err := e.Find(t.Context(), ref); err != nil || got != want {
			t.Errorf("%s: got %+v, %v; want %+v", ref, got, err, want)
		}
	}
	if _, err := e.Find(t.Context(), "nobody"); !errors.Is(err, control.ErrNoContainer) || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("nobody: got %v", err)
	}
	if _, err := e.Find(t.Context(), "loop"); err == nil || errors.Is(err, control.ErrNoContainer) {
		t.Errorf("loop: got %v", err)
	}
}

// Watch says when it is connected, hands over what it hears, in order, and
// returns when the engine goes.
func TestWatch(t *testing.T) {
	e := fakeEngine(t, nil, func(w http.ResponseWriter, r *http.Request) {
		for _, want := range []string{"container", "start", "die", "rename", "destroy"} {
			if !strings.Contains(r.URL.Query().Get("filters"), `"`+want+`"`) {
				t.Errorf("filters %s lack %s", r.URL.Query().Get("filters"), want)
			}
		}
		for i := range 3 {
			fmt.Fprintf(w, `{"Type":"container","Action":"start","Actor":{"ID":"id%d","Attributes":{"name":"n%d"}}}`+"\n", i, i)
		}
	})
	got := ""
	err := e.Watch(t.Context(), func() { got += "connected" }, func(id, name string) { got += " " + id + " " + name })
	if want := "connected id0 n0 id1 n1 id2 n2"; got != want || err == nil {
		t.Errorf("got %q, %v; want %q and an error", got, err, want)
	}
}

// The end of ctx ends a watch at which nothing happens.
func TestWatchEnds(t *testing.T) {
	e := fakeEngine(t, nil, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	if err := e.Watch(ctx, cancel, func(string, string) {}); err == nil || ctx.Err() == nil {
		t.Errorf("got %v", err)
	}
}

// Errors say what to do.
func TestUnreachable(t *testing.T) {
	slow := fakeEngine(t, nil, nil)
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "mute"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	slow.host = "unix://" + l.Addr().String()
	for _, tt := range []struct {
		name string
		e    *Engine
		want []string
	}{
		{"elsewhere", &Engine{"tcp://192.0.2.1:2375"}, []string{"tcp://192.0.2.1:2375", "DOCKER_HOST", "unix://"}},
		{"nobody", &Engine{"unix:///nowhere/s"}, []string{"/nowhere/s", "is dockerd running?", "netns:NAME"}},
		{"mute", slow, []string{"no answer in time"}},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		_, err := tt.e.Find(ctx, "web")
		werr := tt.e.Watch(ctx, func() { t.Errorf("%s: connected", tt.name) }, nil)
		cancel()
		for _, err := range []error{err, werr} {
			if err == nil || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: got %v, want one line", tt.name, err)
				continue
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%s: got %q, want %q in it", tt.name, err, w)
				}
			}
		}
	}
}

// DOCKER_HOST is where the engine is; without it, where Docker puts it.
func TestNewEngine(t *testing.T) {
	t.Setenv("DOCKER_HOST", "")
	if e := NewEngine(); e.host != "unix:///var/run/docker.sock" {
		t.Errorf("got %s", e.host)
	}
	t.Setenv("DOCKER_HOST", "unix:///a/b")
	if e := NewEngine(); e.host != "unix:///a/b" {
		t.Errorf("got %s", e.host)
	}
}
