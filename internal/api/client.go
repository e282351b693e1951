package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"syscall"

	"weft/internal/spec"
)

// Client asks a daemon. Its methods are those of Control; any goroutine may
// call them. Their errors are one line: what the daemon refused and why, or
// that it cannot be reached.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient returns a client of the daemon that listens on socket.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return &Client{socket, &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Status returns everything at a glance.
func (c *Client) Status(ctx context.Context) (s spec.Status, err error) {
	return s, c.do(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// Networks returns the networks, sorted by name.
func (c *Client) Networks(ctx context.Context) (ns []spec.NetworkStatus, err error) {
	return ns, c.do(ctx, http.MethodGet, "/v1/networks", nil, &ns)
}

// AddNetwork makes a network.
func (c *Client) AddNetwork(ctx context.Context, n spec.Network) (got spec.NetworkStatus, err error) {
	return got, c.do(ctx, http.MethodPost, "/v1/networks", n, &got)
}

// SetNetwork changes a network and its ports; with dryRun it only says what would change.
func (c *Client) SetNetwork(ctx context.Context, name string, ch spec.NetworkChange, dryRun bool) (got spec.NetworkSet, err error) {
	return got, c.do(ctx, http.MethodPatch, "/v1/networks/"+url.PathEscape(name)+query("dry_run", yes(dryRun)), ch, &got)
}

// RemoveNetwork removes a network, with its ports where force is set.
func (c *Client) RemoveNetwork(ctx context.Context, name string, force bool) error {
	return c.do(ctx, http.MethodDelete, "/v1/networks/"+url.PathEscape(name)+query("force", yes(force)), nil, nil)
}

// Ports returns the ports, sorted by name.
func (c *Client) Ports(ctx context.Context) (ps []spec.PortStatus, err error) {
	return ps, c.do(ctx, http.MethodGet, "/v1/ports", nil, &ps)
}

// Attach makes a port.
func (c *Client) Attach(ctx context.Context, a spec.Attach) (got spec.PortStatus, err error) {
	return got, c.do(ctx, http.MethodPost, "/v1/ports", a, &got)
}

// Detach removes a port.
func (c *Client) Detach(ctx context.Context, network, target string) error {
	return c.do(ctx, http.MethodDelete, "/v1/ports"+query("network", network, "target", target), nil, nil)
}

// Peers returns the peers, sorted by name.
func (c *Client) Peers(ctx context.Context) (ps []spec.PeerStatus, err error) {
	return ps, c.do(ctx, http.MethodGet, "/v1/peers", nil, &ps)
}

// AddPeer makes a peer.
func (c *Client) AddPeer(ctx context.Context, p spec.Peer) (got spec.PeerStatus, err error) {
	return got, c.do(ctx, http.MethodPost, "/v1/peers", p, &got)
}

// RemovePeer removes a peer.
func (c *Client) RemovePeer(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, "/v1/peers/"+url.PathEscape(name), nil, nil)
}

// Routes ranges over the routes of one vrf, or of all where vrf is empty, sorted
// by vrf and prefix, as they come. An error is the last of the range.
func (c *Client) Routes(ctx context.Context, vrf string) iter.Seq2[spec.RouteStatus, error] {
	return func(yield func(spec.RouteStatus, error) bool) {
		err := c.ask(ctx, http.MethodGet, "/v1/routes"+query("vrf", vrf), nil, func(in *json.Decoder) error {
			_, err := in.Token() // [
			for err == nil && in.More() {
				var row spec.RouteStatus
				if err = in.Decode(&row); err == nil && !yield(row, nil) {
					return nil
				}
			}
			if err == nil {
				_, err = in.Token() // ]
			}
			return err
		})
		if err != nil {
			yield(spec.RouteStatus{}, err)
		}
	}
}

// RouteTo returns the route that packets to a take; vrf may be empty where there
// is one.
func (c *Client) RouteTo(ctx context.Context, a netip.Addr, vrf string) (r spec.RouteStatus, err error) {
	var rs []spec.RouteStatus
	if err := c.do(ctx, http.MethodGet, "/v1/routes"+query("to", a.String(), "vrf", vrf), nil, &rs); err != nil {
		return r, err
	}
	if len(rs) != 1 {
		return r, fmt.Errorf("read answer from %s: it has %d routes to one address", c.socket, len(rs))
	}
	return rs[0], nil
}

// AddRoute makes a route; one with another next hop is replaced where replace
// is set.
func (c *Client) AddRoute(ctx context.Context, r spec.Route, replace bool) (got spec.RouteStatus, err error) {
	return got, c.do(ctx, http.MethodPost, "/v1/routes"+query("replace", onlyTrue(replace)), r, &got)
}

// AddRoutes makes the routes of a file, in the form of spec.ReadRoutes: all or
// none. What its lines leave out is that of common.
func (c *Client) AddRoutes(ctx context.Context, file io.Reader, common spec.Route, replace bool) (got spec.RoutesAdded, err error) {
	q := query("via", common.Via, "vrf", common.VRF, "replace", onlyTrue(replace))
	return got, c.send(ctx, http.MethodPost, "/v1/routes/table"+q, file, &got)
}

// onlyTrue is the value of a parameter that is left out where it is false.
func onlyTrue(b bool) string {
	if b {
		return "true"
	}
	return ""
}

// RemoveRoute removes a route.
func (c *Client) RemoveRoute(ctx context.Context, prefix netip.Prefix, vrf string) error {
	return c.do(ctx, http.MethodDelete, "/v1/routes"+query("prefix", prefix.String(), "vrf", vrf), nil, nil)
}

// Uplinks returns the uplinks, sorted by network and device.
func (c *Client) Uplinks(ctx context.Context) (us []spec.UplinkStatus, err error) {
	return us, c.do(ctx, http.MethodGet, "/v1/uplinks", nil, &us)
}

// AddUplink makes an uplink.
func (c *Client) AddUplink(ctx context.Context, u spec.Uplink) (got spec.UplinkStatus, err error) {
	return got, c.do(ctx, http.MethodPost, "/v1/uplinks", u, &got)
}

// RemoveUplink removes an uplink.
func (c *Client) RemoveUplink(ctx context.Context, network, device string) error {
	return c.do(ctx, http.MethodDelete, "/v1/uplinks"+query("network", network, "device", device), nil, nil)
}

// FDB returns the entries of one network, or of all where network is empty.
func (c *Client) FDB(ctx context.Context, network string) (es []spec.FDBEntry, err error) {
	return es, c.do(ctx, http.MethodGet, "/v1/fdb"+query("network", network), nil, &es)
}

// AddFDB makes a static entry; to is a port's name, or peer:NAME, and vlan 0 the
// untagged one.
func (c *Client) AddFDB(ctx context.Context, network, mac, to string, vlan int) error {
	return c.do(ctx, http.MethodPost, "/v1/fdb", FDBRequest{network, mac, to, vlan}, nil)
}

// RemoveFDB removes an entry.
func (c *Client) RemoveFDB(ctx context.Context, network, mac string, vlan int) error {
	of := []string{"network", network, "mac", mac}
	if vlan != 0 {
		of = append(of, "vlan", strconv.Itoa(vlan))
	}
	return c.do(ctx, http.MethodDelete, "/v1/fdb"+query(of...), nil, nil)
}

// FlushFDB removes the learned entries of one network, or of all, and returns how many.
func (c *Client) FlushFDB(ctx context.Context, network string) (int, error) {
	var got Flushed
	err := c.do(ctx, http.MethodPost, "/v1/fdb/flush"+query("network", network), nil, &got)
	return got.Flushed, err
}

// Drops returns every drop reason with its count.
func (c *Client) Drops(ctx context.Context) (ds []spec.Drop, err error) {
	return ds, c.do(ctx, http.MethodGet, "/v1/drops", nil, &ds)
}

// yes returns true as a parameter of query, and false as none.
func yes(v bool) string {
	if v {
		return "true"
	}
	return ""
}

// Export returns the whole host as the YAML that Apply takes; with keepRoutes it
// says of the routes that they stay as they are.
func (c *Client) Export(ctx context.Context, keepRoutes bool) (string, error) {
	var got Host
	err := c.do(ctx, http.MethodGet, "/v1/host"+query("keep_routes", yes(keepRoutes)), nil, &got)
	return got.YAML, err
}

// Apply makes the host what a file says; name stands in errors. With dryRun it
// only says what would change.
func (c *Client) Apply(ctx context.Context, name, yaml string, dryRun bool) (got spec.Applied, err error) {
	return got, c.do(ctx, http.MethodPut, "/v1/host"+query("dry_run", yes(dryRun)), Host{name, yaml}, &got)
}

// query returns the pairs as the end of a URL, without those that are empty.
func query(pairs ...string) string {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			v.Set(pairs[i], pairs[i+1])
		}
	}
	if len(v) == 0 {
		return ""
	}
	return "?" + v.Encode()
}

// do sends body as JSON, where there is one, and reads the answer into got.
func (c *Client) do(ctx context.Context, method, path string, body, got any) error {
	var send io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("print request: %w", err)
		}
		send = bytes.NewReader(b)
	}
	return c.send(ctx, method, path, send, got)
}

// send is do with a body of any form; nil: none.
func (c *Client) send(ctx context.Context, method, path string, body io.Reader, got any) error {
	return c.ask(ctx, method, path, body, func(in *json.Decoder) error {
		if got == nil {
			return nil
		}
		return in.Decode(got)
	})
}

// ask is send with the answer left to read.
func (c *Client) ask(ctx context.Context, method, path string, body io.Reader, read func(*json.Decoder) error) error {
	if err := CheckSocketPath(c.socket); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://weft"+path, body)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.unreachable(ctx, method, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return refusal(resp)
	}
	if err := read(json.NewDecoder(resp.Body)); err != nil {
		return fmt.Errorf("read answer from %s: %w; is a weft daemon of the same version behind it?", c.socket, err)
	}
	return nil
}

// refusal returns the daemon's error.
func refusal(resp *http.Response) error {
	var f failure
	if err := json.NewDecoder(resp.Body).Decode(&f); err != nil || f.Error == "" {
		return fmt.Errorf("the daemon answered %s without saying why; is it a weft of the same version?", resp.Status)
	}
	return errors.New(f.Error)
}

// unreachable says why there was no answer, and what to do about it.
func (c *Client) unreachable(ctx context.Context, method string, err error) error {
	const cure = "start it with `weft run` or name its socket with --socket"
	switch {
	case ctx.Err() != nil && method != http.MethodGet:
		return fmt.Errorf("wait for the daemon at %s: %w; what it was asked for it finishes all the same: see weft status", c.socket, ctx.Err())
	case ctx.Err() != nil:
		return fmt.Errorf("wait for the daemon at %s: %w", c.socket, ctx.Err())
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("reach the daemon: there is no socket %s; %s", c.socket, cure)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("reach the daemon: nothing listens on %s any more; %s", c.socket, cure)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("reach the daemon: %s may not be opened by this user; use sudo, or become a member of the socket's group", c.socket)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fmt.Errorf("reach the daemon: it closed %s without an answer; see its log, and whether it still runs", c.socket)
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err // the URL in front of it is of our own making
	}
	return fmt.Errorf("reach the daemon: %w; %s", err, cure)
}
