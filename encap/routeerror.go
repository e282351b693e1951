package encap

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// RouteError says, with the cure, what an error of the kernel means, of sending to a
// peer or of asking for the route to it, where the kernel's own words are those of
// something else (fib_props in net/ipv4/fib_semantics.c). Another error is returned as
// it is.
func RouteError(to netip.Addr, err error) error {
	switch {
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("the route to %s is a blackhole: remove it (ip route show table all type blackhole; ip rule), or add one that is more specific", to)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("the route to %s prohibits it: remove it (ip route show table all type prohibit; ip rule), or add one that is more specific; or a router on the way does", to)
	}
	return err
}
