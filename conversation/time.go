package conversation

import (
	"strings"
	"time"
)

// decodeTime reads a time as RFC 3339 has it, in 200 bytes or less.
func decodeTime(name string, raw []byte) (time.Time, *InvalidError) {
	if raw[0] != '"' {
		return time.Time{}, &InvalidError{name, "is " + kindOf(raw), expectTime}
	}
	if len(raw) <= 200 {
		if t, ok := parseTime(unquote(raw)); ok {
			return t, nil
		}
	}
	return time.Time{}, &InvalidError{name, "is not RFC 3339", expectTime}
}

// parseTime reads RFC 3339 as written there: T and Z in either case, and a leap
// second, which becomes the second after it. time.Parse alone also takes a
// one-digit hour, a comma and an offset of a day.
func parseTime(s string) (time.Time, bool) {
	s = strings.ToUpper(s)
	if !fits(s, "0000-00-00T00:00:00") || !fitsRest(s[19:]) {
		return time.Time{}, false
	}
	leap := s[17:19] == "60"
	if leap {
		s = s[:17] + "59" + s[19:]
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, false
	}
	if leap {
		if u := t.UTC(); u.Hour() != 23 || u.Minute() != 59 {
			return time.Time{}, false
		}
		t = t.Truncate(time.Second).Add(time.Second)
	}
	return t, true
}

// fitsRest checks what follows the seconds: a fraction or none, then Z or an
// offset of less than a day.
func fitsRest(s string) bool {
	if len(s) > 0 && s[0] == '.' {
		digits := 1
		for digits < len(s) && isDigit(s[digits]) {
			digits++
		}
		if digits == 1 {
			return false
		}
		s = s[digits:]
	}
	if s == "Z" {
		return true
	}
	return len(s) == 6 && (s[0] == '+' || s[0] == '-') && fits(s[1:], "00:00") && s[1:3] < "24" && s[4:6] < "60"
}

// fits reports whether s begins like pattern, in which 0 stands for any digit.
func fits(s, pattern string) bool {
	if len(s) < len(pattern) {
		return false
	}
	for i := range len(pattern) {
		if pattern[i] == '0' && !isDigit(s[i]) || pattern[i] != '0' && s[i] != pattern[i] {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
