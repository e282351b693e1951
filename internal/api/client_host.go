package api

import (
	"context"
	"net/http"
	"net/url"

	"weft/internal/spec"
)

// Expose gives the host a place in a network.
func (c *Client) Expose(ctx context.Context, e spec.Expose) (got spec.PortStatus, err error) {
	return got, c.do(ctx, http.MethodPost, "/v1/exposed", e, &got)
}

// Hide takes it away.
func (c *Client) Hide(ctx context.Context, network string) error {
	return c.do(ctx, http.MethodDelete, "/v1/exposed/"+url.PathEscape(network), nil, nil)
}

// Published returns the published ports, sorted.
func (c *Client) Published(ctx context.Context) (ps []spec.PublishStatus, err error) {
	return ps, c.do(ctx, http.MethodGet, "/v1/published", nil, &ps)
}

// Publish leads ports of the host to a container.
func (c *Client) Publish(ctx context.Context, p spec.Publish) (got spec.PublishStatus, err error) {
	return got, c.do(ctx, http.MethodPost, "/v1/published", p, &got)
}

// Unpublish takes published ports away; all of the target's where ports is empty.
func (c *Client) Unpublish(ctx context.Context, network, target, ports string) error {
	return c.do(ctx, http.MethodDelete, "/v1/published"+query("network", network, "target", target, "ports", ports), nil, nil)
}

// Cleanup takes everything off the host that commands put around the switch, and
// returns what that was.
func (c *Client) Cleanup(ctx context.Context) (removed []string, err error) {
	var got spec.Cleaned
	return got.Removed, c.do(ctx, http.MethodPost, "/v1/cleanup", nil, &got)
}
