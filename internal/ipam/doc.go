// Package ipam finds addresses for containers on this host.
//
//	prefix   10.32.0.0/24   .0 [.1 ........................ .254] .255
//	range    .10-.20             [.10 ...... .20]
//	Claim takes any address between the brackets of the prefix,
//	Next the lowest free one between those of the range.
//
// A Pool is made anew from the records of the endpoints whenever one is
// needed, so that there is no second book that could differ from the first.
// Storing, and agreeing with other hosts about ranges, do not belong here.
package ipam
