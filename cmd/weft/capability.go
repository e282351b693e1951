package main

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// needed are the capabilities of a switch (capabilities(7)).
var needed = []struct {
	name string
	bit  uint
}{
	{"CAP_NET_ADMIN", unix.CAP_NET_ADMIN}, // make and configure TAPs
	{"CAP_NET_RAW", unix.CAP_NET_RAW},     // GRE over raw sockets
	{"CAP_SYS_ADMIN", unix.CAP_SYS_ADMIN}, // enter the network namespaces of containers
}

// checkCapabilities reports which of them this process lacks. Root in a
// container may lack some; another user may have all.
func checkCapabilities() error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	var missing []string
	for _, c := range needed {
		if data[c.bit/32].Effective>>(c.bit%32)&1 == 0 {
			missing = append(missing, c.name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s missing; run it as root (sudo weft run), or give it these capabilities", strings.Join(missing, ", "))
	}
	return nil
}
