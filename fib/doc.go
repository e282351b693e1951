// Package fib holds the two tables a frame is looked up in: FDB (MAC address to
// port or peer, learned, one per bridge domain) and Routes (IP prefix to next
// hop, programmed, one per vrf). Readers of both never take a lock and never
// wait; what changes the tables says so below.
//
//	     workers, per frame                  control, now and then
//	  Lookup(dst)   Learn(src)          Set Delete Flush Sweep Age Entries
//	      |             |                             |
//	   8 loads    8 loads; CAS when            mutex among themselves,
//	      |       new or moved                 then CAS like a learner
//	      v             v                             v
//	+------------------------------------------------------------------+
//	| bucket: 8 words, 64 bytes, each  MAC 48 | Dest 16  (0 = empty)   |  x 2^n
//	| seen:   8 x second of the last frame; stored once a second       |
//	+------------------------------------------------------------------+
//
//	  Lookup(addr) -> atomic.Pointer -> bart table <- Update (mutex, copy, publish)
//
// Both tables live in memory only. After a restart control sets the attached
// and static entries and the routes again; learned entries come back with the
// first frame of each station, and until then its frames are flooded. The clock
// that Learn and Age are given may start anywhere.
//
// What does not belong here: deciding what happens to a frame (dataplane), who
// may learn (dataplane's guards), next hop resolution by ARP and ND (dataplane),
// and which entries and routes there should be (control).
package fib
