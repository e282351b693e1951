package main

import "weft/internal/spec"

func (f *fake) Uplinks() []spec.UplinkStatus {
	return []spec.UplinkStatus{
		{Network: "lan", Device: "eth0", Port: "eth0", MAC: 5, MTU: 1500, Up: true, Origin: "api"},
		{Network: "red", Device: "eth1", VLAN: 7, Transit: true, Port: "eth1.7", Reason: "link eth1 is down: set it up", Origin: "declared"},
	}
}

func (f *fake) AddUplink(u spec.Uplink) (spec.UplinkStatus, error) {
	f.note("AddUplink %s", u)
	return spec.UplinkStatus{Network: u.Network, Device: u.Device, VLAN: u.VLAN, MTU: 1500, Up: true}, nil
}

func (f *fake) RemoveUplink(network, device string) error {
	f.note("RemoveUplink %s %s", network, device)
	return nil
}
