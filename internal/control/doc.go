// Package control holds what the user wants of the switch, and makes it so. It
// is the only writer of the dataplane.
//
//	flags, file --+                                   +--> dataplane: domains, ports, peers
//	              +--> merge --> networks  ---------- +--> tap: create, reopen, remove
//	state file ---+              peers, routes,       +--> state file
//	                             endpoints
//	                                  ^
//	      API: add, set, remove, attach, detach
//
// Every change is checked whole, then written to the state file, then carried
// out, one at a time. Reading (status) waits for none of that but for maps to be
// updated. What happens to containers meanwhile (a namespace that ends, a TAP
// that is deleted) arrives as events and changes the same maps.
//
// What does not belong here: reading options and files (internal/spec), HTTP
// (internal/api), anything per frame (dataplane), how a TAP is made (tap).
package control
