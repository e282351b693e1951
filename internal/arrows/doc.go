// Package arrows has no code, only a test: it holds who may import whom, so
// that `make test` fails when an arrow of ARCHITECTURE.md breaks. The table in
// arrows_test.go is that picture in words; .golangci.yml has it once more, for editors.
//
//	cmd/weft -> internal/api, internal/demo
//	   -> internal/control -> dataplane -> tap, encap, fib -> leaves
package arrows
