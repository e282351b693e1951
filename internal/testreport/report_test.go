package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	tests := []struct {
		name string
		in   []string
		want []string // lines, spaces squeezed
		ok   bool
	}{
		{"all well", []string{
			`{"Action":"start","Package":"p"}`,
			`{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}`,
			`{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:3: chatter\n"}`,
			`{"Action":"pass","Package":"p","Test":"TestA"}`,
			`{"Action":"pass","Package":"p","Elapsed":1.25}`,
		}, []string{"ok p 1.2s", "1 passed, 0 failed, 0 skipped"}, true},
		{"skip says why", []string{
			`{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}`,
			`{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:3: needs root: run as root\n"}`,
			`{"Action":"output","Package":"p","Test":"TestA","Output":"--- SKIP: TestA (0.00s)\n"}`,
			`{"Action":"skip","Package":"p","Test":"TestA"}`,
			`{"Action":"pass","Package":"p"}`,
		}, []string{"ok p 0.0s", "skipped:", "p TestA: needs root: run as root", "0 passed, 0 failed, 1 skipped"}, true},
		{"failure keeps its words", []string{
			`{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}`,
			`{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:3: got 1, want 2\n"}`,
			`{"Action":"fail","Package":"p","Test":"TestA"}`,
			`{"Action":"output","Package":"p","Output":"FAIL\n"}`,
			`{"Action":"fail","Package":"p"}`,
		}, []string{"FAIL p 0.0s", "a_test.go:3: got 1, want 2", "FAIL", "0 passed, 1 failed, 0 skipped"}, false},
		{"panic without an end of the test", []string{
			`{"Action":"output","Package":"p","Test":"TestA","Output":"panic: boom\n"}`,
			`{"Action":"fail","Package":"p"}`,
		}, []string{"FAIL p 0.0s", "panic: boom", "0 passed, 0 failed, 0 skipped"}, false},
		{"does not build", []string{
			`{"ImportPath":"p","Action":"build-output","Output":"p/a.go:1: undefined: x\n"}`,
			`{"ImportPath":"p","Action":"build-fail"}`,
			`{"Action":"fail","Package":"p"}`,
		}, []string{"p/a.go:1: undefined: x", "FAIL p 0.0s", "0 passed, 0 failed, 0 skipped"}, false},
		{"cut off", []string{`{"Action":"start","Package":"p"}`},
			[]string{"FAIL p: no end of its tests was seen", "0 passed, 0 failed, 0 skipped"}, false},
		{"no JSON", []string{"go: no such tool"}, []string{"go: no such tool", "0 passed, 0 failed, 0 skipped"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			r := newReport(&out)
			if err := r.read(strings.NewReader(strings.Join(tt.in, "\n"))); err != nil {
				t.Fatal(err)
			}
			if ok := r.finish(); ok != tt.ok {
				t.Errorf("finish: got %v, want %v", ok, tt.ok)
			}
			if got, want := squeeze(out.String()), strings.Join(tt.want, "\n"); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// squeeze makes every run of spaces one and drops empty lines.
func squeeze(s string) string {
	var lines []string
	for line := range strings.Lines(s) {
		if words := strings.Fields(line); len(words) > 0 {
			lines = append(lines, strings.Join(words, " "))
		}
	}
	return strings.Join(lines, "\n")
}
