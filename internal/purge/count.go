package purge

import "strconv"

// Count writes n with its noun, for people: "1 message", "2,000 messages". The
// plural is the noun and an s, or plural where that is given.
func Count[T ~int | ~int64](n T, noun string, plural ...string) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	switch {
	case n == 1:
		return s + " " + noun
	case len(plural) > 0:
		return s + " " + plural[0]
	}
	return s + " " + noun + "s"
}
