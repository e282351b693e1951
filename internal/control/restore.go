package control

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"weft/tap"
)

// openers is how many TAPs are opened at once: more than cores, since each
// waits for the kernel.
const openers = 4

// restore brings back the endpoints of the last run: in the same namespace
// their TAPs are opened again, or made again where they are missing; where the
// namespace is gone they are down. No container's namespace but its own is
// entered. Nothing that fails here keeps the switch from starting.
func (c *Controller) restore(records []endpointRecord) {
	var list []*endpoint
	for _, r := range records {
		t, err := c.targetOf(&r)
		if err != nil || c.networks[r.Network] == nil {
			c.log.Error("port cannot be restored", "network", r.Network, "port", r.Target, "err", err)
			continue
		}
		ep := &endpoint{endpointRecord: r, target: t, since: time.Now()}
		if c.ended(ep) {
			c.log.Info("port removed: its process ended", "network", ep.Network, "port", ep.Target, "mac", ep.MAC)
			continue
		}
		c.endpoints[ep.key()] = ep
		list = append(list, ep)
	}
	if err := c.publish(); err != nil { // ports have their MTUs before they send
		c.log.Error("switch does not know the MTU of its ports", "err", err)
	}
	for i, o := range c.openAll(list) {
		ep, err := list[i], o.err
		if err == nil {
			if err = c.connect(ep, o.dev, o.dropped); err != nil {
				err = both(err, o.dev.Close())
			}
		}
		if err != nil {
			ep.down = err.Error()
			c.log.Warn("port is down", "network", ep.Network, "port", ep.Target, "mac", ep.MAC, "reason", ep.down)
			continue
		}
		c.log.Info("port restored", "network", ep.Network, "port", ep.Target, "mac", ep.MAC)
	}
	for _, ep := range list {
		if ep.dev != nil {
			c.announce(ep)
		}
	}
}

// targetOf returns where the endpoint of a record is. That of the host is
// wherever this process is.
func (c *Controller) targetOf(r *endpointRecord) (target, error) {
	if r.Host == nil {
		return r.where()
	}
	c.routesSent = false // its default route is to come
	r.Life = life{BootID: c.boot, Device: c.hostNS.Dev, Inode: c.hostNS.Ino}
	return c.hostTarget(), nil
}

// opened is a TAP, or why there is none.
type opened struct {
	dev     *tap.Device
	dropped uint64 // what it had counted
	err     error
}

// openAll opens the TAPs of all endpoints.
func (c *Controller) openAll(list []*endpoint) []opened {
	results := make([]opened, len(list))
	var wg sync.WaitGroup
	for first := range openers {
		wg.Go(func() { // ends when its share is open
			for i := first; i < len(list); i += openers {
				results[i] = c.openFormer(list[i])
			}
		})
	}
	wg.Wait()
	return results
}

// openFormer opens the TAP that ep had in its namespace, or makes it again
// where it is missing.
func (c *Controller) openFormer(ep *endpoint) opened {
	if ep.Life.BootID != c.boot {
		return opened{err: errors.New("the host was restarted since it was attached")}
	}
	ns := ep.namespace()
	if now, err := c.sys.namespace(ns.Path); err != nil {
		return opened{err: fmt.Errorf("its container is gone: %w", err)}
	} else if now.Dev != ns.Dev || now.Ino != ns.Ino {
		return opened{err: errors.New("its container was replaced by another")}
	}
	if ep.Former != nil { // a change was cut short; while its former default routes are there, new ones stand behind them
		if err := c.sys.change(ns, ep.Former.config(ep), ep.config()); err != nil && !errors.Is(err, tap.ErrNoTAP) {
			return opened{err: err}
		}
	}
	dev, err := c.sys.reopen(ns, ep.config())
	if errors.Is(err, tap.ErrNoTAP) {
		dev, err = c.sys.create(ns, ep.config(), nil)
		return opened{dev: dev, err: err}
	}
	if err != nil {
		return opened{err: err}
	}
	dropped, _ := c.sys.dropped(ns, ep.IfName) // unreadable: then all counts as new
	return opened{dev: dev, dropped: dropped}
}
