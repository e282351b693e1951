package header

// Protocol numbers, as in the IANA registry, in IPv4 and in IPv6.
const (
	ProtoHopByHop = 0
	ProtoICMPv4   = 1
	ProtoIGMP     = 2
	ProtoTCP      = 6
	ProtoUDP      = 17
	ProtoRouting  = 43
	ProtoFragment = 44
	ProtoGRE      = 47
	ProtoAuth     = 51
	ProtoICMPv6   = 58
	ProtoDestOpts = 60
)

// Upper says where an IP packet's upper-layer header is.
type Upper struct {
	Proto    uint8 // protocol of what is at Off
	Off      int   // from the start of the IP header; at most the packet's length
	Fragment bool  // the packet is a fragment, or carries a fragment header
	First    bool  // Off leads to a header: false in every fragment but the first
}

// ECN is the low two bits of TOS and traffic class (RFC 3168 section 5).
const (
	ECNMask = 3
	ECNNot  = 0 // transport is not ECN-capable
	ECNECT1 = 1
	ECNECT0 = 2
	ECNCE   = 3 // congestion experienced
)
