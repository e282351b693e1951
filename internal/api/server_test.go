package api

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"weft/internal/drop"
	"weft/internal/spec"
)

var update = flag.Bool("update", false, "write the golden files anew")

// start serves f on a socket of its own and returns its path.
func start(t *testing.T, f *fake) string {
	t.Helper()
	sock, err := Listen(filepath.Join(t.TempDir(), "weft.sock"))
	if err != nil {
		t.Fatal(err)
	}
	srv := NewServer(f, slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() { done <- srv.Serve(sock) }() // ends with Close below
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := srv.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(sock.path); !os.IsNotExist(err) {
			t.Errorf("the socket stays: %v", err)
		}
	})
	return sock.path
}

// ask sends a request as any program could and returns code and body.
func ask(t *testing.T, socket, method, path, body string) (int, string) {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", socket)
	}}}
	req, err := http.NewRequest(method, "http://weft"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if ct := resp.Header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("%s %s: content type %q", method, path, ct)
	}
	return resp.StatusCode, string(b)
}

// The field names are what other programs rely on: none may change.
func TestJSONGolden(t *testing.T) {
	socket := start(t, &fake{})
	var got bytes.Buffer
	for _, path := range []string{"/v1/status", "/v1/networks", "/v1/ports", "/v1/peers", "/v1/routes", "/v1/uplinks", "/v1/fdb", "/v1/published", "/v1/drops"} {
		code, body := ask(t, socket, "GET", path, "")
		fmt.Fprintf(&got, "%s %d\n", path, code)
		if err := json.Indent(&got, []byte(body), "", "  "); err != nil {
			t.Fatal(err)
		}
	}
	const file = "testdata/answers.golden"
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("got\n%s", &got)
	}
}

// Arrays are never null and sorted; every drop reason is there.
func TestSparseAnswers(t *testing.T) {
	socket := start(t, &fake{sparse: true})
	for _, path := range []string{"/v1/status", "/v1/networks", "/v1/ports", "/v1/peers", "/v1/routes", "/v1/fdb", "/v1/published", "/v1/drops"} {
		if _, body := ask(t, socket, "GET", path, ""); strings.Contains(body, "null") {
			t.Errorf("%s has a null: %s", path, body)
		}
	}
	s, err := NewClient(socket).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range s.Ports {
		names = append(names, p.Name+p.Network)
	}
	if s.Networks[0].Name != "a" || !reflect.DeepEqual(names, []string{"a", "bx", "by"}) {
		t.Errorf("got networks %v, ports %v; want them sorted", s.Networks, names)
	}
	if len(s.Drops) != drop.Count-1 || s.Drops["gre_peer"] != 2 {
		t.Errorf("got %d drop reasons %v, want %d", len(s.Drops), s.Drops, drop.Count-1)
	}
}

// Each method of the client reaches the method of the control with the same
// arguments, and brings its answer back.
// inTable is a route of the table that TestClientMirrorsControl sends.
func inTable(line int, vrf string) spec.Route {
	return spec.Route{Prefix: netip.MustParsePrefix("10.9.0.0/16"), Via: "host2", VRF: vrf, Line: line}
}

// A long table is refused with its reason, though much of it is still to be sent.
func TestTableRefused(t *testing.T) {
	c := NewClient(start(t, &fake{}))
	table := "10.9.0.0/33 via host2\n" + strings.Repeat("10.9.0.0/16 via host2\n", 1<<18)
	_, err := c.AddRoutes(t.Context(), strings.NewReader(table), spec.Route{}, false)
	if err == nil || !strings.HasPrefix(err.Error(), `line 1: route "10.9.0.0/33"`) {
		t.Errorf("got %v", err)
	}
	if got, err := c.AddRoutes(t.Context(), strings.NewReader(table[strings.IndexByte(table, '\n'):]), spec.Route{}, false); err != nil || got.Added != 1<<18 {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestClientMirrorsControl(t *testing.T) {
	f := &fake{}
	c := NewClient(start(t, f))
	ctx := t.Context()
	n, _ := spec.ParseNetwork("blue=10.1.0.0/16,fd00::/64,id=7,gateway=10.1.0.1,vrf=red,range=10.1.0.2-10.1.0.9,mtu=1400,ageing=60")
	p, _ := spec.ParsePeer("host2=192.168.18.17,networks=blue,key=none,csum,seq,encap=gre")
	addr, _ := spec.ParseAddress("10.1.0.2/16@10.1.0.1")
	ch, _ := spec.ChangeFrom([]string{"gateway=none", "mtu=1300"})
	at := spec.Attach{Network: "blue", Target: "netns:/run/netns/web", Addresses: []spec.Address{addr}, MAC: "U:x", IfName: "eth0", MTU: 1300, AllowSpoof: true}

	same := func(what string, got any, err error, want any) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s\n got %+v, %v\nwant %+v", what, got, err, want)
		}
	}
	none := func(what string, err error) { t.Helper(); same(what, nil, err, nil) }

	networks, err := c.Networks(ctx)
	same("Networks", networks, err, []spec.NetworkStatus{aNetwork})
	network, err := c.AddNetwork(ctx, n)
	same("AddNetwork", network, err, aNetwork)
	set, err := c.SetNetwork(ctx, "blue", ch, true)
	same("SetNetwork", set, err, spec.NetworkSet{NetworkStatus: aNetwork, Ports: []spec.PortChange{aChange}})
	none("RemoveNetwork", c.RemoveNetwork(ctx, "blue", true))
	none("RemoveNetwork", c.RemoveNetwork(ctx, "a/b?c", false))
	ports, err := c.Ports(ctx)
	same("Ports", ports, err, []spec.PortStatus{aPort})
	port, err := c.Attach(ctx, at)
	same("Attach", port, err, aPort)
	none("Detach", c.Detach(ctx, "blue", "netns:/a b&c=d"))
	peers, err := c.Peers(ctx)
	same("Peers", peers, err, []spec.PeerStatus{aPeer})
	peer, err := c.AddPeer(ctx, p)
	same("AddPeer", peer, err, aPeer)
	none("RemovePeer", c.RemovePeer(ctx, "host2"))
	route, _ := spec.ParseRoute("10.9.0.0/16=host2,vrf=red")
	var rs []spec.RouteStatus
	for r, err := range c.Routes(ctx, "red") {
		none("Routes", err)
		rs = append(rs, r)
	}
	same("Routes", rs, nil, someRoutes)
	for _, err := range c.Routes(ctx, "") { // the others are not asked for
		none("Routes", err)
		break
	}
	row, err := c.RouteTo(ctx, netip.MustParseAddr("fd00::1"), "red")
	same("RouteTo", row, err, someRoutes[1])
	row, err = c.AddRoute(ctx, route, true)
	same("AddRoute", row, err, someRoutes[1])
	table, err := c.AddRoutes(ctx, strings.NewReader("10.9.0.0/16\n10.9.0.0/16 vrf red # again\n"), spec.Route{Via: "host2", VRF: "blue"}, false)
	same("AddRoutes", table, err, spec.RoutesAdded{Added: 2})
	none("RemoveRoute", c.RemoveRoute(ctx, route.Prefix, ""))
	expose := spec.Expose{Network: "blue", Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.0.9/16")}, NoSNAT: true}
	place, err := c.Expose(ctx, expose)
	same("Expose", place, err, aPort)
	none("Hide", c.Hide(ctx, "blue"))
	publish := spec.Publish{Network: "blue", Target: "netns:web", Host: netip.MustParseAddr("192.0.2.1"), Port: 53, Count: 1, To: 53, Proto: "udp"}
	pub, err := c.Publish(ctx, publish)
	same("Publish", pub, err, somePublished[0])
	pubs, err := c.Published(ctx)
	same("Published", pubs, err, somePublished)
	none("Unpublish", c.Unpublish(ctx, "blue", "netns:web", "53:53/udp"))
	cleaned, err := c.Cleanup(ctx)
	same("Cleanup", cleaned, err, []string{"interface weft-blue"})
	es, err := c.FDB(ctx, "blue")
	same("FDB", len(es), err, 2)
	_, err = c.FDB(ctx, "")
	none("FDB", err)
	none("AddFDB", c.AddFDB(ctx, "blue", "02:00:00:00:00:01", "peer:host2", 10))
	none("RemoveFDB", c.RemoveFDB(ctx, "blue", "02:00:00:00:00:01", 10))
	flushed, err := c.FlushFDB(ctx, "blue")
	same("FlushFDB", flushed, err, 12)
	ds, err := c.Drops(ctx)
	same("Drops", ds, err, []spec.Drop{someDrops[1], someDrops[0]})
	host, err := c.Export(ctx, true)
	same("Export without routes", host, err, "networks:\n  - name: blue\n    prefixes: [10.1.0.0/16]\npeers: []\nroutes: keep\nuplinks: []\nattachments: []\nfdb: []\n")
	host, err = c.Export(ctx, false)
	same("Export", host, err, "networks:\n  - name: blue\n    prefixes: [10.1.0.0/16]\npeers: []\nroutes: []\nuplinks: []\nattachments: []\nfdb: []\n")
	applied, err := c.Apply(ctx, "h.yaml", host, true)
	same("Apply", applied, err, spec.Applied{DryRun: true, Differences: someDifferences})
	s, err := c.Status(ctx)
	same("Status", s.Degraded[0].Why, err, "silent")

	want := []any{
		n, "blue", ch, true, "blue", true, "a/b?c", false, at, "blue", "netns:/a b&c=d", p, "host2",
		"red", "", netip.MustParseAddr("fd00::1"), "red", route, true, []spec.Route{inTable(1, "blue"), inTable(2, "red")}, false, route.Prefix, "",
		expose, "blue", publish, "blue", "netns:web", "53:53/udp", "cleanup", "blue", "",
		"blue", "02:00:00:00:00:01", "peer:host2", 10, "blue", "02:00:00:00:00:01", 10, "blue", "h.yaml", host, true,
	}
	if !reflect.DeepEqual(f.calls, want) {
		t.Errorf("the control was asked\n got %+v\nwant %+v", f.calls, want)
	}
}

func TestRequestsRefused(t *testing.T) {
	f := &fake{}
	socket := start(t, f)
	tests := []struct {
		method, path, body string
		code               int
		want               string
	}{
		{"POST", "/v1/networks", "", 400, "read request: it is empty"},
		{"POST", "/v1/networks", "{", 400, "read request: unexpected EOF"},
		{"POST", "/v1/networks", `{"name":"a","vlan":3}`, 400, `read request: json: unknown field "vlan"`},
		{"POST", "/v1/networks", `{"name":"a"}{}`, 400, "read request: something follows the JSON value"},
		{"POST", "/v1/networks", `{"name":"a","prefixes":["10.1.0.5/16"]}`, 400, `network "a": 10.1.0.5/16 is an address, not a prefix; maybe you meant 10.1.0.0/16`},
		{"POST", "/v1/peers", `{"name":"a"}`, 400, `peer "a": its address is missing, as in 192.168.18.17`},
		{"POST", "/v1/ports", `{"network":"a","target":"x:y"}`, 400, `target "x:y": scheme "x" is not known; want netns:NAME, netns:/path, pid:N or docker:NAME`},
		{"POST", "/v1/ports", `{"network":"a","target":"pid:1","addresses":["10.0.0.1"]}`, 400,
			`read request: address "10.0.0.1": the prefix length is missing; maybe you meant 10.0.0.1/24`},
		{"POST", "/v1/fdb", `[]`, 400, "read request: json: cannot unmarshal array into Go value of type api.FDBRequest"},
		{"PATCH", "/v1/networks/a", `{"id":3}`, 400, `read request: json: unknown field "id"`},
		{"PUT", "/v1/host", `{"file":"h.yaml","yaml":"networks: 5"}`, 400, "h.yaml:1: want a list here, each item behind a '-'"},
		{"PUT", "/v1/host", `{"yaml":""}`, 400, "request:1: it describes nothing: networks: [] stands for a host without any"},
		{"PUT", "/v1/host?dry_run=1", `{"yaml":""}`, 400, `dry_run is true or false, not "1"`},
		{"DELETE", "/v1/networks/a?force=yes", "", 400, `force is true or false, not "yes"`},
		{"DELETE", "/v1/networks/a?forse=true", "", 400, `parameter "forse" is not known here`},
		{"POST", "/v1/networks", `{"name":"` + strings.Repeat("a", maxBody) + `"}`, 400, "read request: http: request body too large"},
		{"POST", "/v1/routes", `{"prefix":"10.9.0.1/16","via":"h2"}`, 400, `route "10.9.0.1/16": 10.9.0.1/16 is an address, not a prefix; maybe you meant 10.9.0.0/16`},
		{"POST", "/v1/routes", `{"prefix":"10.9.0.0/16"}`, 400, `route "10.9.0.0/16": its next hop is missing; want a peer's name, or an address`},
		{"DELETE", "/v1/routes?vrf=red", "", 400, `route: "" is not a prefix; want one as in 172.17.2.0/24`},
		{"POST", "/v1/exposed", `{"network":"Blue"}`, 400, `network "Blue": 'B' cannot stand in a name; use a-z, 0-9, '-', '_' and '.'`},
		{"POST", "/v1/published", `{"network":"blue","target":"netns:web","port":80,"target_port":80,"proto":"sctp"}`, 400, `publish "80:80/sctp": protocol "sctp" is not known; it is tcp or udp`},
		{"DELETE", "/v1/published?network=blue&target=netns:web&ports=80", "", 400, `publish "80": want [HOSTADDR:]PORT[-PORT]:PORT[-PORT][/tcp|udp], as in 8080:80 or [fd00::1]:5000-5009:5000-5009/udp`},
		{"GET", "/v1/routes?to=host2", "", 400, `route to "host2": want an address, as in 172.17.2.5`},
		{"GET", "/v1/rooms", "", 404, "GET /v1/rooms is not part of the API"},
		{"PUT", "/v1/status", "", 404, "PUT /v1/status is not part of the API"},
		{"GET", "/", "", 404, "GET / is not part of the API"},
	}
	for _, tt := range tests {
		code, body := ask(t, socket, tt.method, tt.path, tt.body)
		want, _ := json.Marshal(failure{tt.want})
		if code != tt.code || body != string(want)+"\n" {
			t.Errorf("%s %s %.60s\n got %d %s\nwant %d %s", tt.method, tt.path, tt.body, code, body, tt.code, want)
		}
	}
	if len(f.calls) != 0 {
		t.Errorf("the control was asked %v", f.calls)
	}
}

func TestControlRefuses(t *testing.T) {
	f := &fake{err: errRefused}
	socket := start(t, f)
	c := NewClient(socket)
	if _, err := c.Attach(t.Context(), spec.Attach{Network: "blue", Target: "netns:web"}); err == nil || err.Error() != errRefused.Error() {
		t.Errorf("got %v, want %v", err, errRefused)
	}
	if es, err := c.FDB(t.Context(), "blue"); err == nil || len(es) != 0 {
		t.Errorf("got %v, %v; want nothing beside the error", es, err)
	}
	if code, body := ask(t, socket, "DELETE", "/v1/peers/x", ""); code != 409 {
		t.Errorf("got %d %s, want 409", code, body)
	}
}

// More clients than the limit wait their turn instead of being served all at once.
func TestConnectionLimit(t *testing.T) {
	socket := start(t, &fake{})
	var held []net.Conn
	for range maxConns {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := NewClient(socket).Status(ctx); err == nil {
		t.Error("one over the limit was answered")
	}
	for _, conn := range held {
		conn.Close()
	}
	if _, err := NewClient(socket).Status(t.Context()); err != nil {
		t.Error(err)
	}
}

// Close does not wait for a request that hangs longer than it was told.
func TestCloseCutsOff(t *testing.T) {
	sock, err := Listen(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{block: make(chan struct{})}
	srv := NewServer(f, slog.New(slog.DiscardHandler))
	served, asked := make(chan error, 1), make(chan error, 1)
	go func() { served <- srv.Serve(sock) }() // ends with Close below
	go func() {                               // ends when it is cut off
		_, err := NewClient(sock.path).Attach(context.Background(), spec.Attach{Network: "a", Target: "pid:1", Addresses: []spec.Address{{Prefix: netip.MustParsePrefix("10.0.0.1/8")}}})
		asked <- err
	}()
	for {
		f.mu.Lock()
		n := len(f.calls)
		f.mu.Unlock()
		if n > 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := srv.Close(ctx); err != nil {
		t.Error(err)
	}
	if err := <-asked; err == nil || !strings.Contains(err.Error(), "without an answer") {
		t.Errorf("got %v", err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	close(f.block)
}

// An answer that ends in the middle is an error behind the rows that came.
func TestRoutesCutOff(t *testing.T) {
	for _, tt := range []struct {
		answer string
		rows   int
		ok     bool
	}{
		{`[]`, 0, true},
		{`[{"prefix":"10.1.0.0/16"},{"prefix":"10.9.0.0/16"}]`, 2, true},
		{`[{"prefix":"10.1.0.0/16"},{"prefix":"10.9.0.0/16"}`, 2, false},
		{`[{"prefix":"10.1.0.0/16"},{"pre`, 1, false},
		{``, 0, false},
	} {
		socket := filepath.Join(t.TempDir(), "s")
		ln, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, tt.answer) })}
		go server.Serve(ln) // ends with Close
		rows, failed := 0, error(nil)
		for _, err := range NewClient(socket).Routes(t.Context(), "") {
			if failed = err; err == nil {
				rows++
			}
		}
		if rows != tt.rows || (failed == nil) != tt.ok {
			t.Errorf("%s: got %d rows, %v", tt.answer, rows, failed)
		}
		_ = server.Close()
	}
}
