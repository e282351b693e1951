// Package progress shows on a terminal how far something is that takes a while:
// one line, which is drawn over. Where the output is no terminal, it prints plain
// lines and no bar.
package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	barWidth   = 24
	redraw     = 200 * time.Millisecond
	clearLine  = "\r\x1b[K"
	widthToUse = 100 // of a terminal that does not say its own
)

// Bar is a progress line. Its methods may be called from any goroutine. Close
// takes the line away.
type Bar struct {
	w     io.Writer
	live  bool
	width int
	done  chan struct{}
	wait  sync.WaitGroup

	mu    sync.Mutex // guards the following
	total time.Duration
	spent time.Duration // of the steps that are over
	step  time.Duration // expected length of the one that is under way
	began time.Time     // of it
	text  string
}

// New returns a bar for work that is expected to take total. It draws where w
// is a terminal.
func New(w io.Writer, total time.Duration) *Bar {
	b := &Bar{w: w, total: total, done: make(chan struct{}), began: time.Now()}
	b.live, b.width = terminal(w)
	if b.live {
		b.wait.Go(b.tick) // ends with done
	}
	return b
}

// Step begins a part that is expected to take d; the one before it is over.
func (b *Bar) Step(d time.Duration, format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spent += b.step
	b.step, b.began, b.text = d, time.Now(), fmt.Sprintf(format, args...)
	b.draw()
}

// Say prints a line that stays: a result, or what went wrong.
func (b *Bar) Say(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.live {
		fmt.Fprint(b.w, clearLine)
	}
	fmt.Fprintf(b.w, format+"\n", args...)
	b.draw()
}

// Close takes the bar away. What Say printed stays. A second call does nothing.
func (b *Bar) Close() {
	b.mu.Lock()
	select {
	case <-b.done:
		b.mu.Unlock()
		return
	default:
		close(b.done)
	}
	b.mu.Unlock()
	b.wait.Wait()
	if b.live {
		fmt.Fprint(b.w, clearLine)
	}
}

func (b *Bar) tick() {
	t := time.NewTicker(redraw)
	defer t.Stop()
	for {
		select {
		case <-b.done:
			return
		case <-t.C:
			b.mu.Lock()
			b.draw()
			b.mu.Unlock()
		}
	}
}

// draw is called with mu held.
func (b *Bar) draw() {
	if !b.live {
		return
	}
	at := b.spent + min(time.Since(b.began), b.step)
	share := 0.0
	if b.total > 0 {
		share = min(1, at.Seconds()/b.total.Seconds())
	}
	full := int(share * barWidth)
	left := max(0, b.total-at).Round(time.Second)
	line := fmt.Sprintf("[%s%s] %3.0f %%  %v left  %s", strings.Repeat("#", full), strings.Repeat("-", barWidth-full), share*100, left, b.text)
	if len(line) >= b.width {
		line = line[:b.width-1]
	}
	fmt.Fprint(b.w, clearLine, line)
}

// terminal reports whether w is one that lines can be drawn over on, and how
// wide it is.
func terminal(w io.Writer) (live bool, width int) {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false, 0
	}
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
		return false, 0
	}
	if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > barWidth {
		return true, int(size.Col)
	}
	return true, widthToUse
}
