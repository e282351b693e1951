//go:build race

package fib

const raceEnabled = true // shrinks tests that take long under the race detector
