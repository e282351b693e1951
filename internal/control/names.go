package control

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// portBase makes a port's name of the last element of a path: what could be
// mistaken for an address, peer:NAME or NAME@NETWORK becomes '-'.
func portBase(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
			return r
		}
		return '-'
	}, s)
}

// portNames returns the name of each endpoint's port: the last element of its
// target; NAME@NETWORK for all holders of a name that more than one has; and
// where that is still not unique, as /a/net and /b/net in one network, with six
// hex digits of a hash of the target before the @. Nothing is called just "switch".
func portNames(eps []*endpoint) map[*endpoint]string {
	byBase, byFull := map[string]int{atSwitch: 1}, map[string]int{}
	for _, ep := range eps {
		byBase[ep.target.base]++
		byFull[ep.target.base+"@"+ep.Network]++
	}
	names := make(map[*endpoint]string, len(eps))
	for _, ep := range eps {
		base, full := ep.target.base, ep.target.base+"@"+ep.Network
		switch {
		case byBase[base] == 1:
			names[ep] = base
		case byFull[full] == 1:
			names[ep] = full
		default:
			names[ep] = base + "-" + hashDigits(ep.target.key) + "@" + ep.Network
		}
	}
	return names
}

// hashDigits returns six hex digits that stand for s.
func hashDigits(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:3])
}
