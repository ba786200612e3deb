package pages

import (
	"fmt"
	"regexp"
	"strings"
)

// varying is what differs from one run to the next, and what stands for it in a comparison.
var varying = []struct {
	what *regexp.Regexp
	as   string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d(:?\d\d)?)?`), "<time>"},
	{regexp.MustCompile(`\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`), "<id>"},
	{regexp.MustCompile(`\b(\d+(\.\d+)?\s?(ns|us|µs|ms|s|m|h))+\b`), "<duration>"},
	{regexp.MustCompile(`\s+`), " "},
}

// plain is a line without what varies.
func plain(line string) string {
	for _, v := range varying {
		line = v.what.ReplaceAllString(line, v.as)
	}
	return strings.TrimSpace(line)
}

// Match reports whether a text is what a page shows of it, and says why not. A
// line "…" stands for any lines, also none; "…" in a line for any text in it.
// Times, UUIDs and durations match others of their kind, and blanks any blanks.
func Match(shown, text string) error {
	want, got := lines(shown), lines(text)
	if at, ok := match(want, got); !ok {
		return fmt.Errorf("the page shows %q; that isn't there, or more is, in:\n%s", strings.TrimSpace(want[min(at, len(want)-1)]), strings.TrimSpace(text))
	}
	return nil
}

// lines are those of a text, without empty ones at its ends.
func lines(text string) []string { return strings.Split(strings.Trim(text, "\n"), "\n") }

// match returns the first line of want that isn't found.
func match(want, got []string) (at int, ok bool) {
	for i, line := range want {
		if plain(line) == "…" {
			for skipped := range len(got) + 1 {
				next, ok := match(want[i+1:], got[skipped:])
				if ok {
					return 0, true
				}
				at = max(at, i+1+next)
			}
			return at, false
		}
		if len(got) == 0 || !matchLine(line, got[0]) {
			return i, false
		}
		got = got[1:]
	}
	return len(want), len(got) == 0
}

// matchLine compares one line.
func matchLine(want, got string) bool {
	parts := strings.Split(plain(want), "…")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile("^" + strings.Join(parts, ".*") + "$").MatchString(plain(got))
}
