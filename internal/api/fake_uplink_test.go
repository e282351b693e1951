package api

import "weft/internal/spec"

var someUplinks = []spec.UplinkStatus{
	{Network: "lan", Device: "eth1", VLAN: 7, Port: "eth1.7", Up: false, Reason: "link eth1 is gone", Origin: "api"},
	{Network: "lan", Device: "eth0", Transit: true, Port: "eth0", MAC: 5, MTU: 1500, Up: true, Origin: "declared"},
}

func (f *fake) Uplinks() []spec.UplinkStatus {
	if f.sparse {
		return nil
	}
	return someUplinks
}

func (f *fake) AddUplink(u spec.Uplink) (spec.UplinkStatus, error) { return someUplinks[1], f.note(u) }

func (f *fake) RemoveUplink(network, device string) error { return f.note(network, device) }
