package control

import (
	"fmt"
	"maps"
	"slices"

	"weft/internal/spec"
)

// A file for apply may change what takes several writes of the state: published
// ports, exposed networks, a transition, uplinks. Before the first of them the state
// gets the host as it was, as a file for apply, and with the last that goes. A start
// that finds it there makes the host that again, so that an end of the daemon
// anywhere between leaves no half, also while a failure is being taken back.

// steps are done one by one; when one fails, those before are taken back.
type steps struct{ undo []func() error }

func (s *steps) do(f, back func() error) error {
	err := f()
	if err == nil {
		s.undo = append(s.undo, back)
		return nil
	}
	for _, back := range slices.Backward(s.undo) {
		if berr := back(); berr != nil {
			err = both(err, fmt.Errorf("take back: %w", berr))
		}
	}
	return err
}

// carryOutAll makes t, h and up so, or none of it. change is held.
func (c *Controller) carryOutAll(t *transition, h *hostChange, up map[uplinkKey]*uplink) error {
	if h.empty() && maps.Equal(up, c.uplinks) {
		return c.carryOut(t) // whole by itself
	}
	if err := c.noteFormer(); err != nil {
		return err
	}
	err := c.carryOutSteps(t, h, up)
	if err != nil {
		if ferr := c.forgetFormer(); ferr != nil { // a start would do once more what was done
			c.log.Error("state was not written", "err", ferr)
		}
	}
	return err
}

func (c *Controller) carryOutSteps(t *transition, h *hostChange, up map[uplinkKey]*uplink) error {
	var s steps
	was := c.uplinks
	if err := s.do(func() error { c.partUplinks(up); return nil }, func() error { c.rejoinUplinks(was); return nil }); err != nil {
		return err
	}
	for _, p := range h.unpublish {
		if err := s.do(func() error { return c.unpublish(p) }, func() error { _, err := c.publishPorts(p.Publish, p.origin); return err }); err != nil {
			return err
		}
	}
	for _, ep := range h.hide {
		if c.hostPlace(ep.Network) != ep { // it went with its last published port
			continue
		}
		if err := s.do(func() error { return c.leave(ep) }, c.exposingAgain(ep)); err != nil {
			return err
		}
	}
	if !t.empty(c) {
		back := t.reversed(c)
		if err := s.do(func() error { return c.carryOut(t) }, func() error { return c.carryOut(back) }); err != nil {
			return err
		}
	}
	for _, e := range h.expose {
		if err := s.do(c.exposing(e)); err != nil {
			return err
		}
	}
	for _, n := range h.publish {
		var p *published
		if err := s.do(func() (err error) { p, err = c.publishPorts(n, byAPI); return err }, func() error { return c.unpublish(p) }); err != nil {
			return err
		}
	}
	if err := s.do(func() error { return c.joinUplinks(up) }, func() error { c.partUplinks(was); return nil }); err != nil {
		return err
	}
	return s.do(c.forgetFormer, nil)
}

// exposing returns how e is done, and how it is taken back.
func (c *Controller) exposing(e spec.Expose) (do, back func() error) {
	e.Line = 0
	had := c.hostPlace(e.Network)
	do = func() error {
		if _, err := c.expose(c.networks[e.Network], e, hostPart{NoSNAT: e.NoSNAT, Origin: byAPI}); err != nil {
			return fmt.Errorf("expose network %q: %w", e.Network, err)
		}
		return nil
	}
	back = func() error {
		if ep := c.hostPlace(e.Network); had == nil && ep != nil {
			return c.leave(ep)
		}
		return nil
	}
	return do, back
}

// exposingAgain returns how a place of the host that was taken away is made again.
func (c *Controller) exposingAgain(ep *endpoint) func() error {
	was, part := ep.exposure(), *ep.Host
	return func() error {
		n, err := c.networkNamed(was.Network)
		if err == nil {
			_, err = c.expose(n, was, part)
		}
		return err
	}
}

// noteFormer writes down what the host is now, but for what is declared, which every
// start brings back. More routes than a file may have are left as they will be then.
func (c *Controller) noteFormer() error {
	if c.beforeApply != "" { // it is being made that again
		return nil
	}
	cfg := c.export(byAPI)
	text, err := cfg.MarshalHost()
	if err != nil && len(cfg.Routes) > 0 {
		cfg.Routes, cfg.KeepRoutes = nil, true
		text, err = cfg.MarshalHost()
	}
	if err != nil {
		return err
	}
	c.locked(func() { c.beforeApply = string(text) })
	if err = c.save(); err != nil {
		c.locked(func() { c.beforeApply = "" })
	}
	return err
}

// forgetFormer says that the host is whole.
func (c *Controller) forgetFormer() error {
	was := c.beforeApply
	c.locked(func() { c.beforeApply = "" })
	err := c.save()
	if err != nil {
		c.locked(func() { c.beforeApply = was })
	}
	return err
}

// restoreFormer makes the host what it was before an apply that the end of the
// daemon cut short.
func (c *Controller) restoreFormer() {
	if c.beforeApply == "" {
		return
	}
	cfg, err := spec.ParseHost("state", []byte(c.beforeApply))
	if err == nil {
		_, err = c.Apply(cfg, false)
	}
	if err != nil {
		err = fmt.Errorf("weft ended in the middle of apply, and what was before it could not be brought back whole: %w: apply the file again", err)
		c.log.Error("host is not as it was before apply", "err", err)
	} else {
		c.log.Warn("weft ended in the middle of apply: the host is as it was before")
	}
	c.locked(func() { c.faults.apply = err })
	if err := c.forgetFormer(); err != nil {
		c.log.Error("state was not written", "err", err)
	}
}
