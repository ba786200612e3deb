package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

const (
	// lineWidth is what every line fits in, but for the bar of a wider terminal.
	lineWidth = 78
	indent    = "   "
	// stillEvery is how long the output may be silent where there is no terminal.
	stillEvery = 5 * time.Second
)

// printer writes the story. On a terminal it uses colours, unless NO_COLOR is
// set, and draws over the last line; elsewhere the text is plain. Not safe for
// concurrent use.
type printer struct {
	w      io.Writer
	width  int  // columns; lineWidth where there is no terminal
	live   bool // lines can be drawn over
	colour bool
	open   bool // the cursor is on a line that was drawn
	// passing says that the drawn line is to vanish before the next one.
	passing bool
	steps   int
}

func newPrinter(w io.Writer, getenv func(string) string) *printer {
	p := &printer{w: w, width: lineWidth}
	f, ok := w.(*os.File)
	if !ok {
		return p
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return p
	}
	if size.Col > 0 {
		p.width = int(size.Col)
	}
	p.live = getenv("TERM") != "dumb"
	p.colour = p.live && getenv("NO_COLOR") == ""
	return p
}

// style is a terminal's way to show a text.
type style string

const (
	bold  style = "1"
	dim   style = "2"
	red   style = "31"
	green style = "32"
	cyan  style = "36"
)

// styled is s in a style, where there are colours.
func (p *printer) styled(how style, s string) string {
	if !p.colour || s == "" {
		return s
	}
	return "\x1b[" + string(how) + "m" + s + "\x1b[0m"
}

// columns is how wide s is on a terminal: styles take no room.
func columns(s string) int {
	n := 0
	for s != "" {
		before, rest, found := strings.Cut(s, "\x1b[")
		n += utf8.RuneCountInString(before)
		if !found {
			break
		}
		_, s, _ = strings.Cut(rest, "m")
	}
	return n
}

// title prints the first line.
func (p *printer) title(name, rest string) { p.print(p.styled(bold, name) + " " + rest) }

// step begins a numbered step.
func (p *printer) step(what string) {
	p.steps++
	p.print("")
	p.print(p.styled(bold, fmt.Sprintf("%d. %s", p.steps, what)))
}

// say prints a line of a step, with a measurement at its right end.
func (p *printer) say(text string, measured ...string) {
	right := strings.Join(measured, "  ")
	line := indent + text
	if right != "" {
		gap := min(lineWidth, p.width) - columns(line) - columns(right)
		line += strings.Repeat(" ", max(2, gap)) + p.styled(dim, right)
	}
	p.print(line)
}

// during runs do and shows meanwhile what is under way: on a terminal in a line that the next
// one replaces, with the seconds it has taken; elsewhere in a line for every stillEvery. do
// must not print.
func (p *printer) during(text string, do func() error) error {
	p.doing(text)
	every := stillEvery
	if p.live {
		every = time.Second
	}
	tick, began, done := time.NewTicker(every), time.Now(), make(chan error, 1)
	defer tick.Stop()
	go func() { done <- do() }()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
			p.still(text, time.Since(began))
		}
	}
}

// doing shows on a terminal what is under way, until the next line takes its place.
func (p *printer) doing(text string) {
	if p.live {
		p.pass(p.fit(indent + text + " …"))
	}
}

// still shows how long something has been under way.
func (p *printer) still(text string, since time.Duration) {
	line := fmt.Sprintf("%s%s … %.0f s", indent, text, since.Seconds())
	if p.live {
		p.pass(p.fit(line))
	} else {
		p.print(line)
	}
}

// fit cuts a line without styles to what the terminal can draw over.
func (p *printer) fit(line string) string {
	all := []rune(line)
	return string(all[:min(len(all), max(0, p.width-1))])
}

// pass draws a line that vanishes before the next one.
func (p *printer) pass(line string) {
	p.draw(line)
	p.passing = true
}

// note prints an explanation.
func (p *printer) note(format string, args ...any) {
	p.print(indent + p.styled(dim, fmt.Sprintf(format, args...)))
}

// print writes one line.
func (p *printer) print(line string) {
	p.endLine()
	fmt.Fprintln(p.w, strings.TrimRight(line, " "))
}

// draw puts line where the last drawn one is. Only where p is live.
func (p *printer) draw(line string) {
	fmt.Fprint(p.w, "\r\x1b[K"+line)
	p.open, p.passing = true, false
}

// endLine leaves the drawn line as it stands, or takes it away if it was passing.
func (p *printer) endLine() {
	switch {
	case p.open && p.passing:
		fmt.Fprint(p.w, "\r\x1b[K")
	case p.open:
		fmt.Fprintln(p.w)
	}
	p.open, p.passing = false, false
}

// number writes n with commas: 2,000,000.
func number[T int | int64](n T) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// count writes n with its noun: "1 message", "20 messages".
func count[T int | int64](n T, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return number(n) + " " + noun + "s"
}

// lasted writes a time for people: 4.1 ms, 312 ms, 3.2 s.
func lasted(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	switch {
	case ms < 9.95:
		return fmt.Sprintf("%.1f ms", ms)
	case ms < 999.5:
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.1f s", ms/1000)
}

// rate writes n in d as a number a second, with three digits that count.
func rate[T int | int64](n T, d time.Duration, noun string) string {
	return number(perSecond(int64(n), d)) + " " + noun + "/s"
}

// perSecond is n in d for each second, rounded to three digits.
func perSecond(n int64, d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	perSecond := int64(float64(n) / d.Seconds())
	unit := int64(1)
	for perSecond/unit >= 1000 {
		unit *= 10
	}
	return (perSecond + unit/2) / unit * unit
}
