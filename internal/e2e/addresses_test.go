package e2e

import "net"

// addresses lists the IPv4 addresses of an interface as CIDR strings.
func (c *Container) addresses(ifname string) (list []string, err error) {
	err = c.Do(func() error {
		ifi, err := net.InterfaceByName(ifname)
		if err != nil {
			return err
		}
		addrs, err := ifi.Addrs()
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil {
				list = append(list, n.String())
			}
		}
		return err
	})
	return list, err
}
