package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"weft/internal/spec"
)

// route is one thing that can be asked for.
type route struct {
	pattern string   // as http.ServeMux wants it
	query   []string // parameters behind the path; others are refused
	handle  func(c Control, r *http.Request) (any, error)
}

// routes is the whole API. A nil answer is sent as {}.
var routes = []route{
	{"GET /v1/status", nil, func(c Control, r *http.Request) (any, error) { return status(c.Status()), nil }},
	{"GET /v1/drops", nil, func(c Control, r *http.Request) (any, error) { return drops(c.Drops()), nil }},

	{"GET /v1/host", []string{"keep_routes"}, getHost},
	{"PUT /v1/host", []string{"dry_run"}, putHost},

	{"GET /v1/networks", nil, func(c Control, r *http.Request) (any, error) { return networks(c.Networks()), nil }},
	{"POST /v1/networks", nil, func(c Control, r *http.Request) (any, error) {
		var n spec.Network
		if err := decodeValid(r, &n); err != nil {
			return nil, err
		}
		got, err := c.AddNetwork(n)
		return network(got), err
	}},
	{"PATCH /v1/networks/{name}", []string{"dry_run"}, func(c Control, r *http.Request) (any, error) {
		dryRun, err := flagOf(r, "dry_run")
		if err != nil {
			return nil, err
		}
		var ch spec.NetworkChange
		if err := decode(r, &ch); err != nil {
			return nil, err
		}
		got, err := c.SetNetwork(r.PathValue("name"), ch, dryRun)
		return networkSet(got), err
	}},
	{"DELETE /v1/networks/{name}", []string{"force"}, func(c Control, r *http.Request) (any, error) {
		force, err := flagOf(r, "force")
		if err != nil {
			return nil, err
		}
		return nil, c.RemoveNetwork(r.PathValue("name"), force)
	}},

	{"GET /v1/ports", nil, func(c Control, r *http.Request) (any, error) { return ports(c.Ports()), nil }},
	{"POST /v1/ports", nil, func(c Control, r *http.Request) (any, error) {
		var a spec.Attach
		if err := decodeValid(r, &a); err != nil {
			return nil, err
		}
		got, err := c.Attach(a)
		return port(got), err
	}},
	// A target may be a path, so it does not fit one element of a URL's path.
	{"DELETE /v1/ports", []string{"network", "target"}, func(c Control, r *http.Request) (any, error) {
		q := r.URL.Query()
		return nil, c.Detach(q.Get("network"), q.Get("target"))
	}},

	{"GET /v1/peers", nil, func(c Control, r *http.Request) (any, error) { return peers(c.Peers()), nil }},
	{"POST /v1/peers", nil, func(c Control, r *http.Request) (any, error) {
		var p spec.Peer
		if err := decodeValid(r, &p); err != nil {
			return nil, err
		}
		got, err := c.AddPeer(p)
		return peer(got), err
	}},
	{"DELETE /v1/peers/{name}", nil, func(c Control, r *http.Request) (any, error) { return nil, c.RemovePeer(r.PathValue("name")) }},

	{"GET /v1/routes", []string{"to", "vrf"}, getRoutes},
	{"POST /v1/routes", []string{"replace"}, func(c Control, r *http.Request) (any, error) {
		replace, err := flagOf(r, "replace")
		if err != nil {
			return nil, err
		}
		var route spec.Route
		if err := decodeValid(r, &route); err != nil {
			return nil, err
		}
		return c.AddRoute(route, replace)
	}},
	{tablePattern, []string{"replace", "via", "vrf"}, func(c Control, r *http.Request) (any, error) {
		replace, err := flagOf(r, "replace")
		if err != nil {
			return nil, err
		}
		list, err := spec.ReadRoutes(r.Body, spec.Route{Via: r.URL.Query().Get("via"), VRF: r.URL.Query().Get("vrf")})
		if err != nil {
			_, _ = io.Copy(io.Discard, r.Body) // so that the client comes to read why
			return nil, requestError{err}
		}
		return c.AddRoutes(list, replace)
	}},
	// A prefix has a slash, so it does not fit one element of a URL's path.
	{"DELETE /v1/routes", []string{"prefix", "vrf"}, func(c Control, r *http.Request) (any, error) {
		prefix, err := spec.ParseRoutePrefix(r.URL.Query().Get("prefix"))
		if err != nil {
			return nil, badRequest("route: %w", err)
		}
		return nil, c.RemoveRoute(prefix, r.URL.Query().Get("vrf"))
	}},

	{"GET /v1/uplinks", nil, func(c Control, r *http.Request) (any, error) { return uplinks(c.Uplinks()), nil }},
	{"POST /v1/uplinks", nil, func(c Control, r *http.Request) (any, error) {
		var u spec.Uplink
		if err := decodeValid(r, &u); err != nil {
			return nil, err
		}
		return c.AddUplink(u)
	}},
	{"DELETE /v1/uplinks", []string{"network", "device"}, func(c Control, r *http.Request) (any, error) {
		q := r.URL.Query()
		return nil, c.RemoveUplink(q.Get("network"), q.Get("device"))
	}},

	{"GET /v1/fdb", []string{"network"}, func(c Control, r *http.Request) (any, error) {
		got, err := c.FDB(r.URL.Query().Get("network"))
		return fdb(got), err
	}},
	{"POST /v1/fdb", nil, func(c Control, r *http.Request) (any, error) {
		var e FDBRequest
		if err := decode(r, &e); err != nil {
			return nil, err
		}
		return nil, c.AddFDB(e.Network, e.MAC, e.To, e.VLAN)
	}},
	{"DELETE /v1/fdb", []string{"network", "mac", "vlan"}, func(c Control, r *http.Request) (any, error) {
		q := r.URL.Query()
		vlan := 0
		if v := q.Get("vlan"); v != "" {
			var err error
			if vlan, err = spec.ParseVLAN(v); err != nil {
				return nil, requestError{err}
			}
		}
		return nil, c.RemoveFDB(q.Get("network"), q.Get("mac"), vlan)
	}},
	{"POST /v1/fdb/flush", []string{"network"}, func(c Control, r *http.Request) (any, error) {
		n, err := c.FlushFDB(r.URL.Query().Get("network"))
		return Flushed{n}, err
	}},
}

// tablePattern takes a file of routes as it is, which may be long.
const tablePattern = "POST /v1/routes/table"

// getRoutes answers with all routes, or with the one that leads to an address.
func getRoutes(c Control, r *http.Request) (any, error) {
	q := r.URL.Query()
	if !q.Has("to") {
		return c.Routes(q.Get("vrf"))
	}
	to, err := spec.ParseRouteAddr(q.Get("to"))
	if err != nil {
		return nil, requestError{err}
	}
	got, err := c.RouteTo(to, q.Get("vrf"))
	return []spec.RouteStatus{got}, err
}

// FDBRequest asks for a static FDB entry.
type FDBRequest struct {
	Network string `json:"network"`
	MAC     string `json:"mac"`
	To      string `json:"to"`             // a port's name, or peer:NAME
	VLAN    int    `json:"vlan,omitempty"` // 0: the untagged one
}

// Flushed says how many learned entries were removed.
type Flushed struct {
	Flushed int `json:"flushed"`
}

// requestError is a request that cannot be understood, whatever the state.
type requestError struct{ error }

func badRequest(format string, args ...any) error {
	return requestError{fmt.Errorf(format, args...)}
}

// flagOf returns the parameter name, which is true or false; false where it is missing.
func flagOf(r *http.Request, name string) (bool, error) {
	v := r.URL.Query().Get(name)
	if !slices.Contains([]string{"", "true", "false"}, v) {
		return false, badRequest("%s is true or false, not %q", name, v)
	}
	return v == "true", nil
}

// decode reads the body as one JSON value without unknown fields.
func decode(r *http.Request, into any) error {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("it is empty")
		}
		return badRequest("read request: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return badRequest("read request: something follows the JSON value")
	}
	return nil
}

// decodeValid reads the body and asks the value whether it makes sense.
func decodeValid(r *http.Request, into interface{ Validate() error }) error {
	if err := decode(r, into); err != nil {
		return err
	}
	if err := into.Validate(); err != nil {
		return requestError{err}
	}
	return nil
}

// checkQuery refuses parameters that the route does not know.
func checkQuery(r *http.Request, known []string) error {
	for key := range r.URL.Query() {
		if !slices.Contains(known, key) {
			return badRequest("parameter %q is not known here", key)
		}
	}
	return nil
}
