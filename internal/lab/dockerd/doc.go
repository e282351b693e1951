// Package dockerd starts real Docker engines in the namespaces of a lab, each with
// containers, images, sockets and mounts of its own, and an image of busybox.
//
// An engine has the network namespace of its host and a mount namespace of its
// own. It makes no bridge and no firewall rule, unless it is asked to. Control groups are the machine's,
// below one that is named for the engine and removed with it.
//
// Tests alone use it; the weft binary does not link it.
package dockerd
