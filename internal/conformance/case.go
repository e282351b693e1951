package main

// row is one case: what is sent where, and what must come of it.
type row struct {
	id, what string
	at       string   // place
	send     [][]byte // frames; at "peer": IPv4 packets from peers
	want     string   // see outcome.at

	before   []sent                                          // sent first; what comes of it is not looked at
	setup    []string                                        // weft commands before
	undo     []string                                        // and after
	all      bool                                            // look at frames without the mark too: ARP and ND have no room for it
	see      func(r *row, frame []byte, place string) string // describes a frame; nil: describe
	only     bool                                            // no other system can be asked the same
	slow     bool                                            // the answer takes seconds
	linux    string                                          // why Linux differs
	ovs      string                                          // why Open vSwitch differs
	notLinux bool
	notOVS   bool
}

// sent is a frame and the place where it is sent.
type sent struct {
	at    string
	frame []byte
}

// absent is a row that is not asked here, with the reason.
type absent struct{ id, what, why string }

// section is a table of rows.
type section struct {
	number, title string
	rows          []row
	absent        []absent
	make          func() section // that made it
}

// sections is everything, in the order of the report.
var sections = []func() section{greReceive, greTransmit, ecn, size, bridge, arpND, router4, router6}

// one is a list of one frame.
func one(f []byte) [][]byte { return [][]byte{f} }
