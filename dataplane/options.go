package dataplane

import "weft/internal/header"

// What checkOptions finds.
type optionsVerdict uint8

const (
	optionsFine   optionsVerdict = iota
	optionsRouted                // source route: never obeyed (RFC 7126 section 4.3)
	optionsBad                   // a length that leads out of the header
)

// checkOptions walks over the options of an IPv4 header; at is the offset in the
// header of one that is bad.
func checkOptions(p header.IPv4) (v optionsVerdict, at int) {
	const end, nop, lsrr, ssrr = 0, 1, 131, 137
	options := p[header.IPv4Len:p.HeaderLen()]
	for i := 0; i < len(options); {
		switch options[i] {
		case end:
			return optionsFine, 0
		case nop:
			i++
			continue
		case lsrr, ssrr:
			return optionsRouted, 0
		}
		if i+1 >= len(options) || options[i+1] < 2 || i+int(options[i+1]) > len(options) {
			return optionsBad, header.IPv4Len + i + 1
		}
		i += int(options[i+1])
	}
	return optionsFine, 0
}

// keepCopied blanks the options that only the first fragment has: those whose
// copied bit is clear (RFC 791 section 3.1). The options are sound.
func keepCopied(options []byte) {
	const end, nop, copied = 0, 1, 0x80
	for i := 0; i < len(options) && options[i] != end; {
		n := 1
		if options[i] != nop {
			n = int(options[i+1])
		}
		if options[i]&copied == 0 {
			for j := i; j < i+n; j++ {
				options[j] = nop
			}
		}
		i += n
	}
}
