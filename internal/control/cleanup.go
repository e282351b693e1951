package control

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"weft/internal/hostnet"
)

// Cleanup takes off the host everything that commands put around this switch:
// published ports, the host's places in networks, and what an earlier switch
// left. It says what that was. What is declared stays, and is an error.
func (c *Controller) Cleanup() (removed []string, err error) {
	end, err := c.begin()
	if err != nil {
		return nil, err
	}
	defer end()
	var stays []string
	for _, p := range slices.Clone(c.published) {
		if p.origin == declared {
			stays = append(stays, "published port "+p.Ports())
			continue
		}
		if err := c.unpublish(p); err != nil {
			return removed, fmt.Errorf("unpublish %s: %w", p, err)
		}
		removed = append(removed, "published port "+p.Ports())
	}
	for _, ep := range c.hostPlaces() {
		if ep.Host.Origin == declared || len(c.publishedThrough(ep)) > 0 {
			stays = append(stays, "exposed network "+ep.Network)
			continue
		}
		if err := c.leave(ep); err != nil {
			return removed, fmt.Errorf("hide network %q: %w", ep.Network, err)
		}
		removed = append(removed, "exposed network "+ep.Network)
	}
	if len(c.hostPlaces()) == 0 {
		more, err := c.host.Clear(nil)
		removed = append(removed, more...)
		if err != nil {
			return removed, err
		}
	}
	if len(stays) > 0 {
		return removed, fmt.Errorf("%s and %d more stay, since %s declares them: stop weft run first, and run weft cleanup again", stays[0], len(stays)-1, c.opt.Source)
	}
	return removed, nil
}

// Clean is Cleanup for a host whose switch does not run: it takes the switch's
// locks, and also what is declared goes, until the next start. Containers keep
// their interfaces.
func Clean(stateDir string) (removed []string, err error) { return clean(stateDir, machine) }

func clean(stateDir string, sys system) (removed []string, err error) {
	if stateDir == "" {
		stateDir = defaultStateDir
	}
	lockIn := stateDir
	if _, err := os.Stat(stateDir); errors.Is(err, fs.ErrNotExist) {
		lockIn = "" // nothing is remembered there, and nothing shall be made
	}
	locks, err := sys.lock(lockIn)
	if err != nil {
		return nil, err
	}
	defer func(c io.Closer) { err = both(err, c.Close()) }(locks)
	store := &store{dir: stateDir}
	old, problem, err := store.load()
	if err != nil {
		return nil, err
	}
	boot, err := sys.bootID()
	if err != nil {
		return nil, err
	}
	var settings []hostnet.Sysctl
	if old.Host.BootID == boot {
		settings = old.Host.Sysctls
	}
	removed, err = sys.host().Clear(settings)
	if n, serr := sys.sweep(); n > 0 || serr != nil {
		removed, err = append(removed, fmt.Sprintf("%d interfaces of a switch that was killed", n)), both(err, serr)
	}
	if err != nil || problem != nil || len(old.Published)+len(old.Host.Sysctls)+len(old.Endpoints) == 0 {
		return removed, err
	}
	old.Published, old.Host.Sysctls = []publishRecord{}, []hostnet.Sysctl{}
	old.Endpoints = slices.DeleteFunc(old.Endpoints, func(r endpointRecord) bool { return r.Host != nil })
	return removed, store.save(old)
}
