// Command conformance asks a running switch what the standards ask of it, row by
// row, and asks Linux and Open vSwitch the same in the same run.
//
//	                  cases (gre.go, bridge.go, router4.go ...): frames, and the answer that is right
//	                      |
//	        +-------------+----------------+
//	      weft       Linux bridge,    Open vSwitch 3.1         systems, each with the same places around it
//	        |        Linux router          |
//	places: containers, and the link to the peers              raw sockets on their interfaces
//
// A case sends frames at a place and says what must come out at every other:
// forwarded how, answered with what, or dropped under which name. Cases are data.
// A fence, a frame that every system forwards, follows each: when it is
// there, so is all that the case caused.
//
// A row that cannot be asked is listed with its reason. Tests that do not fit
// this form (streams, restarts, captures) are in internal/e2e.
package main
