package offload

// Complete finishes the L4 checksum of a frame that is not a super-frame, in
// place, as h.CsumStart and h.CsumOffset say. h must come from Check or FromWire;
// without FlagNeedsCsum nothing happens. Do it once: the frame is complete
// afterwards, and the header that belongs to it is the zero one.
func Complete(h Header, frame []byte) {
	if h.NeedsCsum() {
		complete(frame[h.CsumStart:], int(h.CsumOffset))
	}
}
