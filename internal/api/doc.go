// Package api lets other programs ask the daemon: HTTP and JSON over a Unix
// socket.
//
//	weft attach ...                               weft run
//	    |                                             |
//	Client --- HTTP over /run/weft/weft.sock ---> Server ---> Control
//
// It translates and holds no state: what is asked for and what is answered are
// the types of internal/spec, and Control does everything. Whoever may open the
// socket may do everything that weft can do, so its mode is 0660.
//
// What does not belong here: deciding anything (internal/control), parsing what
// users type (internal/spec), printing (cmd/weft).
package api
