// Package demo shows weft at work on one machine: two hosts and three
// containers as network namespaces, two real switches (this very program,
// started as `weft run` in each host), pings, data both ways and what the
// switches know afterwards. It needs root and no other program, and takes
// everything away again, whatever happens.
//
//	demo.go    the steps, top to bottom
//	stage.go   namespaces, links, directories: set up and taken down
//	script.go  how it looks on the terminal
//
// The namespaces themselves are the task of package lab, the traffic that of
// lab/probe. Nothing here is on the way of a frame.
package demo
