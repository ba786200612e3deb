package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestBarFitsAnyTerminal(t *testing.T) {
	t.Parallel()
	for width := range 200 {
		for _, colour := range []bool{false, true} {
			out := &printer{w: io.Discard, width: width, live: true, colour: colour}
			line := renderBar(out, 1_234_567, 2_000_000, 543_000)
			if n := columns(line); n > max(0, width-1) {
				t.Fatalf("%d columns on a terminal of %d: %q", n, width, line)
			}
		}
	}
}

func TestBarLeavesOutWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		width, cells int
		right        string
	}{
		{200, mostBar, "  61 %  1,234,567 of 2,000,000    543,000/s"},
		{80, 33, "  61 %  1,234,567 of 2,000,000    543,000/s"},
		{54, 20, "  61 %  1,234,567 of 2,000,000"},
		{41, 31, "  61 %"},
		{17, 0, "61 %"},
		{3, 0, "61"},
		{1, 0, ""},
	} {
		line := renderBar(&printer{width: c.width, live: true}, 1_234_567, 2_000_000, 543_000)
		cells := strings.Count(line, "█") + strings.Count(line, "░")
		if cells != c.cells || strings.TrimLeft(line, " █░") != strings.TrimLeft(c.right, " ") {
			t.Errorf("width %d: %q; want %d cells and %q", c.width, line, c.cells, c.right)
		}
	}
}

func TestBarIsFullAtTheEndAlone(t *testing.T) {
	t.Parallel()
	out := &printer{width: lineWidth}
	for _, c := range []struct {
		done, total int64
		percent     string
		full        bool
	}{
		{0, 2_000_000, "  0 %", false},
		{1_999_999, 2_000_000, " 99 %", false},
		{2_000_000, 2_000_000, "100 %", true},
		{3_000_000, 2_000_000, "100 %", true},
		{-1, 2_000_000, "  0 %", false},
		{0, 0, "100 %", true},
	} {
		line := renderBar(out, c.done, c.total, 0)
		if !strings.Contains(line, c.percent) || strings.Contains(line, "░") == c.full {
			t.Errorf("%d of %d: %q; want %s", c.done, c.total, line, c.percent)
		}
	}
}

func TestBarWithoutATerminalPrintsALineForEachFifth(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	b := newBar(&printer{w: &text, width: lineWidth}, 1000)
	for done := range int64(1001) {
		b.set(done)
	}
	b.end()
	if n := strings.Count(text.String(), "\n"); n != tellSteps || strings.ContainsAny(text.String(), "\r\x1b") {
		t.Errorf("%d lines; want %d, plain:\n%s", n, tellSteps, &text)
	}
}

func TestBarOnATerminalDrawsOverOneLine(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	out := &printer{w: &text, width: 80, live: true}
	b := newBar(out, 1000)
	b.set(500)
	b.set(501) // too soon
	b.set(1000)
	b.end()
	out.print("next")
	if got := text.String(); strings.Count(got, "\n") != 2 || strings.Count(got, "\r\x1b[K") != 2 || !strings.HasSuffix(got, "/s\nnext\n") {
		t.Errorf("%q; want two drawings on one line, and the next one below", got)
	}
}

func TestPassingBarVanishesFromATerminal(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	out := &printer{w: &text, width: 80, live: true}
	b := newPassingBar(out, 1000)
	b.drawn = time.Time{} // long ago
	b.set(500)
	out.print("next")
	if got := text.String(); !strings.Contains(got, "50 %") || !strings.HasSuffix(got, "\r\x1b[Knext\n") {
		t.Errorf("%q; want the bar, and the next line in its place", got)
	}
}

func TestPassingBarWithoutATerminalPrintsNowAndThen(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	b := newPassingBar(&printer{w: &text, width: lineWidth}, 1000)
	b.set(500) // too soon
	b.drawn = b.drawn.Add(-stillEvery)
	b.set(600)
	b.set(1000) // too soon again
	if got := text.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "60 %") {
		t.Errorf("%q; want one line", got)
	}
}

func TestWhatTakesLongIsSaid(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := func() error {
			time.Sleep(2*stillEvery + time.Second)
			return io.ErrUnexpectedEOF
		}
		var text strings.Builder
		if err := (&printer{w: &text, width: lineWidth}).during("go build", slow); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("during = %v; want the error of what it runs", err)
		}
		if got, want := text.String(), "   go build … 5 s\n   go build … 10 s\n"; got != want {
			t.Errorf("%q; want %q", got, want)
		}
		text.Reset()
		out := &printer{w: &text, width: 80, live: true}
		_ = out.during("go build", slow)
		out.say("done")
		if got := text.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "\r\x1b[K   go build … 7 s") {
			t.Errorf("%q; want one line, drawn each second before", got)
		}
	})
}

func TestHistoriesAreLoadedInParts(t *testing.T) {
	t.Parallel()
	hs := []history{{alice, "a", 1, 20}, {alice, group, 21, 2*partMessages + 5}, {bob, group, 1, 30}}
	next, total := map[string]int64{}, int64(0)
	for _, part := range parts(hs) {
		n := int64(0)
		for _, h := range part {
			key := h.user + " " + h.conversation
			if want := next[key]; want > 0 && h.first != want {
				t.Errorf("%s goes on at %d; want %d", key, h.first, want)
			}
			next[key] = h.last + 1
			n += h.messages()
		}
		if n < 1 || n > partMessages {
			t.Errorf("a part of %d messages; want 1 to %d", n, partMessages)
		}
		total += n
	}
	for _, h := range hs {
		if got := next[h.user+" "+h.conversation]; got != h.last+1 {
			t.Errorf("%s of %s ends at %d; want %d", h.conversation, h.user, got-1, h.last)
		}
		total -= h.messages()
	}
	if total != 0 {
		t.Errorf("%d messages too many", total)
	}
}

func TestPassingLineVanishes(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	out := &printer{w: &text, width: 10, live: true}
	out.doing("loading a lot")
	out.say("done")
	if got, want := text.String(), "\r\x1b[K   loadin\r\x1b[K   done\n"; got != want {
		t.Errorf("%q; want %q", got, want)
	}
}

func TestColoursAreForTerminalsAlone(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	out := newPrinter(&text, func(string) string { return "" })
	out.title("a", "b")
	out.step("c")
	out.say("d", "e")
	if strings.Contains(text.String(), "\x1b") {
		t.Errorf("%q; want no escape sequence", &text)
	}
}

func TestNumbersAreForPeople(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		number(0): "0", number(999): "999", number(2_000_000): "2,000,000", number(int64(-1234)): "-1,234",
		count(1, "chat"): "1 chat", count(0, "chat"): "0 chats",
		lasted(0): "0.0 ms", lasted(4_120 * time.Microsecond): "4.1 ms", lasted(312 * time.Millisecond): "312 ms",
		lasted(999_700 * time.Microsecond): "1.0 s", lasted(61 * time.Second): "61.0 s",
		fmt.Sprint(perSecond(1_234_567, time.Second)): "1230000", fmt.Sprint(perSecond(5, 0)): "0",
		fmt.Sprint(perSecond(999_999, time.Second)): "1000000",
	} {
		if got != want {
			t.Errorf("%s; want %s", got, want)
		}
	}
}
