package encap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"sync/atomic"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// egressRules knows which tables of nftables have a say in what the host sends:
// those with a chain at output, postrouting or egress, since rules jump within
// their table only, and see its sets only. What changes in others, such as the
// sets of addresses that are refused at input, is no matter. Changes in those are
// tried out: a hello that goes out by socket, through all rules, tells.
//
// What changes in counters the kernel does not report, so nobody has to pass it over.
type egressRules struct {
	tables atomic.Pointer[map[string]bool] // with a say; written by the egress goroutine, read by the one that follows events
	stale  atomic.Bool                     // chains are others: they have to be listed again
	chains map[string]string               // with a say, as last listed
	egress map[string]string               // by device: the chain that an egress TAP would pass by
}

// Message types and attributes of linux/netfilter/nf_tables.h.
const (
	nftTableName   = 1 // of every message about something in a table
	nftChainName   = 3
	nftChainHook   = 4
	nftChainPolicy = 5
	nftHookNumber  = 1
	nftHookDevice  = 3
	nftHookDevices = 4
)

// event takes what the kernel says, and returns whether chains have to be listed
// again, and whether what the host may send may be otherwise.
func (r *egressRules) event(messages []syscall.NetlinkMessage) (list, try bool) {
	tables := r.tables.Load()
	for i := range messages {
		m := &messages[i]
		switch m.Header.Type & 0xff {
		case unix.NFT_MSG_NEWTABLE, unix.NFT_MSG_DELTABLE, unix.NFT_MSG_NEWCHAIN, unix.NFT_MSG_DELCHAIN:
			list = true
		case unix.NFT_MSG_NEWRULE, unix.NFT_MSG_DELRULE, unix.NFT_MSG_NEWSET, unix.NFT_MSG_DELSET,
			unix.NFT_MSG_NEWSETELEM, unix.NFT_MSG_DELSETELEM, unix.NFT_MSG_NEWOBJ, unix.NFT_MSG_DELOBJ:
			table, _, err := nftMessage(m.Data)
			try = try || err != nil || tables == nil || (*tables)[table]
		}
	}
	if list {
		r.stale.Store(true)
	}
	return list, try
}

// list asks the kernel for all chains where that is due, and returns whether those
// with a say are others than before.
func (r *egressRules) list() (changed bool, err error) {
	if !r.stale.Swap(false) {
		return false, nil
	}
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETCHAIN, unix.NLM_F_DUMP)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.NFPROTO_UNSPEC})
	answers, err := req.Execute(unix.NETLINK_NETFILTER, 0)
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) { // a kernel without nftables
		answers, err = nil, nil
	}
	if err != nil {
		r.stale.Store(true)
		return false, fmt.Errorf("list nftables chains: %w", err)
	}
	tables, chains, egress := map[string]bool{}, map[string]string{}, map[string]string{}
	for _, b := range answers {
		table, attrs, err := nftMessage(b)
		if err != nil {
			return false, fmt.Errorf("list nftables chains: %w", err)
		}
		hook := attrs[nftChainHook]
		if hook == nil || !r.sends(b[0], hook, table, egress) {
			continue
		}
		tables[table] = true
		chains[table+" "+string(attrs[nftChainName])] = string(hook) + string(attrs[nftChainPolicy])
	}
	changed = r.tables.Load() == nil || !maps.Equal(chains, r.chains)
	r.chains, r.egress = chains, egress
	r.tables.Store(&tables)
	return changed, nil
}

// sends reports whether a base chain sees what the host sends. It notes the
// devices of those that see it where it leaves.
func (r *egressRules) sends(family byte, hook []byte, table string, egress map[string]string) bool {
	attrs, err := nftAttributes(hook)
	if err != nil || len(attrs[nftHookNumber]) != 4 {
		return true
	}
	number := binary.BigEndian.Uint32(attrs[nftHookNumber])
	if family != unix.NFPROTO_NETDEV {
		return number == unix.NF_INET_LOCAL_OUT || number == unix.NF_INET_POST_ROUTING
	}
	if number != unix.NF_NETDEV_EGRESS {
		return false
	}
	note := func(name []byte) {
		if len(name) > 0 {
			egress[unix.ByteSliceToString(name)] = table
		}
	}
	note(attrs[nftHookDevice])
	if devices, err := nl.ParseRouteAttr(attrs[nftHookDevices]); err == nil {
		for _, d := range devices {
			note(d.Value)
		}
	}
	return true
}

// nftMessage returns the table, with the family that it is of, and the attributes
// of a message of nftables.
func nftMessage(b []byte) (table string, attrs map[uint16][]byte, err error) {
	if len(b) < nl.SizeofNfgenmsg {
		return "", nil, unix.EINVAL
	}
	if attrs, err = nftAttributes(b[nl.SizeofNfgenmsg:]); err != nil {
		return "", nil, err
	}
	families := map[byte]string{
		unix.NFPROTO_INET: "inet", unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6", unix.NFPROTO_ARP: "arp",
		unix.NFPROTO_NETDEV: "netdev", unix.NFPROTO_BRIDGE: "bridge",
	}
	return families[b[0]] + " " + unix.ByteSliceToString(attrs[nftTableName]), attrs, nil
}

// nftAttributes returns attributes by type.
func nftAttributes(b []byte) (map[uint16][]byte, error) {
	list, err := nl.ParseRouteAttr(b)
	if err != nil {
		return nil, fmt.Errorf("parse attributes: %w", err)
	}
	attrs := make(map[uint16][]byte, len(list))
	for _, a := range list {
		attrs[a.Attr.Type&nl.NLA_TYPE_MASK] = a.Value
	}
	return attrs, nil
}
