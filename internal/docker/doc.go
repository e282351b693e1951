// Package docker asks the Docker engine of this host which containers there are,
// and hears from it when that changes. It speaks to the engine's Unix socket by
// moby's client, which settles for the newest version of the protocol that both
// know (1.40, Docker 19.03, and later).
//
//	control --Find--> name or id --> id, state, process
//	        --Watch-> start, die, rename, destroy
//
// It keeps nothing between two calls: what is attached to what, and what a
// change means, is control's.
package docker
