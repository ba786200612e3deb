package main

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	drawEvery = 100 * time.Millisecond // on a terminal
	tellSteps = 5                      // lines for a whole bar, elsewhere
	barCells  = 30
	leastBar  = 8
	mostBar   = 60
)

// bar shows how far a deletion has come: drawn over and over on a terminal, and
// elsewhere as a line for each fifth of the way.
type bar struct {
	out   *printer
	total int64
	// passing says that the bar is of less interest than what comes after it: it vanishes
	// from a terminal, and elsewhere it is a line for every stillEvery.
	passing bool

	done  int64
	drawn time.Time // the last drawing
	told  int64     // the last fifth that was told
	mark  int64     // done when this worker began
	since time.Time // when it began
	until time.Time // when it was killed; zero while it runs
}

// newBar begins at nothing.
func newBar(out *printer, total int64) *bar {
	return &bar{out: out, total: total, since: time.Now()}
}

// newPassingBar is newBar for what only has to be waited for.
func newPassingBar(out *printer, total int64) *bar {
	b := newBar(out, total)
	b.passing, b.drawn = true, b.since
	return b
}

// restart measures the rate anew from here.
func (b *bar) restart() { b.mark, b.since, b.until = b.done, time.Now(), time.Time{} }

// rate is messages a second since this worker began.
func (b *bar) rate() int64 {
	end := b.until
	if end.IsZero() {
		end = time.Now()
	}
	return perSecond(b.done-b.mark, end.Sub(b.since))
}

// set moves the bar.
func (b *bar) set(done int64) {
	if done == b.mark {
		b.since = time.Now() // it has not begun to move yet
	}
	b.done = done
	switch {
	case b.out.live && time.Since(b.drawn) >= drawEvery:
		b.show()
	case b.out.live:
	case b.passing && time.Since(b.drawn) >= stillEvery, !b.passing && b.fifth() > b.told:
		b.show()
	}
}

// fifth is how many fifths of the way are done.
func (b *bar) fifth() int64 { return b.done * tellSteps / max(1, b.total) }

// show draws the bar now, or prints it where it can't be drawn over.
func (b *bar) show() {
	b.drawn, b.told = time.Now(), b.fifth()
	line := renderBar(b.out, b.done, b.total, b.rate())
	switch {
	case b.out.live && b.passing:
		b.out.pass(line)
	case b.out.live:
		b.out.draw(line)
	default:
		b.out.print(line)
	}
}

// end leaves the bar as it is now.
func (b *bar) end() {
	if b.out.live || b.fifth() > b.told {
		b.show()
	}
	b.out.endLine()
}

// renderBar is one line that is never wider than the terminal, which would break
// drawing over it: what doesn't fit is left out, the rate first and the bar last.
func renderBar(out *printer, done, total, perSecond int64) string {
	done = max(0, min(done, total))
	share := 1.0
	if total > 0 {
		share = float64(done) / float64(total)
	}
	percent := fmt.Sprintf("%3d %%", int(100*share)) // 100 at the end alone
	of := fmt.Sprintf("  %*s of %s", len(number(total)), number(done), number(total))
	speed := fmt.Sprintf("  %9s/s", number(perSecond))
	room := out.width - 1 // a full last column makes some terminals wrap
	for _, right := range []string{percent + of + speed, percent + of, percent} {
		cells := room - len(indent) - 1 - utf8.RuneCountInString(right)
		if cells < leastBar {
			continue
		}
		if !out.live {
			cells = min(cells, barCells)
		}
		cells = min(cells, mostBar)
		full := int(share * float64(cells))
		return indent + out.styled(green, strings.Repeat("█", full)) +
			out.styled(dim, strings.Repeat("░", cells-full)) + " " + right
	}
	percent = strings.TrimSpace(percent)
	return percent[:min(len(percent), max(0, room))]
}
