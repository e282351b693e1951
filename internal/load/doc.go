// Package load puts traffic on the path between two places and says what
// arrived: TCP streams, small UDP datagrams, and a request that is answered.
// `weft bench` and the bench package share it.
//
//	client, in one namespace                 server, in another, or on another host
//	  asks for a test      ---- control --->   answers with what it took in
//	  streams, floods      ---- data ------>   counts
//	                       <--- data -------   streams back, where the test says so
//	  ping-pong            <--- echo ------>   sends back what came
//
// The sockets block, in threads of their own, as those of iperf3 do: the Go
// runtime's poller would add its own system calls to what is measured.
//
// A server answers its own clients alone. Data is taken only with the token that
// a test was given over its control connection, which is TCP, so nobody can be
// made to receive anything who did not ask; UDP is counted and never answered.
//
// What does not belong here: which switch lies between, and what it says of
// itself.
package load
