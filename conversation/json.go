package conversation

import (
	"encoding/json"
	"iter"
	"strconv"
)

// The functions below walk a JSON text that json.Valid has accepted, and rely
// on it. They are here because encoding/json matches names in any case, lets the
// last of two equal names win and replaces invalid text, so that two users become one.
// Nothing recurses, so deep nesting costs no stack.

// members yields the raw name (quotes included) and the raw value of each
// member of the object at the start of obj.
func members(obj []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		i := skipSpace(obj, 1)
		for obj[i] != '}' {
			nameEnd := endOfString(obj, i)
			v := skipSpace(obj, skipSpace(obj, nameEnd)+1) // past the colon
			end := endOfValue(obj, v)
			if !yield(obj[i:nameEnd], obj[v:end]) {
				return
			}
			i = skipSpace(obj, end)
			if obj[i] == ',' {
				i = skipSpace(obj, i+1)
			}
		}
	}
}

// elements yields the index and the raw value of each element of the array at
// the start of arr.
func elements(arr []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		i := skipSpace(arr, 1)
		for n := 0; arr[i] != ']'; n++ {
			end := endOfValue(arr, i)
			if !yield(n, arr[i:end]) {
				return
			}
			i = skipSpace(arr, end)
			if arr[i] == ',' {
				i = skipSpace(arr, i+1)
			}
		}
	}
}

func skipSpace(d []byte, i int) int {
	for i < len(d) && (d[i] == ' ' || d[i] == '\n' || d[i] == '\t' || d[i] == '\r') {
		i++
	}
	return i
}

// endOfString returns the index after the string that starts at d[i].
func endOfString(d []byte, i int) int {
	for i++; d[i] != '"'; i++ {
		if d[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// endOfValue returns the index after the value that starts at d[i].
func endOfValue(d []byte, i int) int {
	switch d[i] {
	case '"':
		return endOfString(d, i)
	case '{', '[':
		return endOfNested(d, i)
	}
	for i < len(d) {
		switch d[i] {
		case ',', ']', '}', ' ', '\n', '\t', '\r':
			return i
		}
		i++
	}
	return i
}

func endOfNested(d []byte, i int) int {
	depth := 0
	for {
		switch d[i] {
		case '"':
			i = endOfString(d, i)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
}

// unquote returns the value of a raw string (quotes included) that is valid
// UTF-8 without lone surrogates.
func unquote(raw []byte) string {
	body := raw[1 : len(raw)-1]
	for _, c := range body {
		if c == '\\' {
			var s string
			_ = json.Unmarshal(raw, &s) // raw is one valid string
			return s
		}
	}
	return string(body)
}

// loneSurrogate returns the index of the first \u escape that is half of a
// pair without the other half, or -1. In valid JSON a backslash stands only
// inside strings.
func loneSurrogate(d []byte) int {
	for i := 0; i < len(d); i++ {
		if d[i] != '\\' {
			continue
		}
		if d[i+1] != 'u' {
			i++
			continue
		}
		switch r := hex4(d, i+2); {
		case r >= 0xDC00 && r <= 0xDFFF:
			return i
		case r >= 0xD800 && r <= 0xDBFF:
			if d[i+6] != '\\' || d[i+7] != 'u' {
				return i
			}
			if lo := hex4(d, i+8); lo < 0xDC00 || lo > 0xDFFF {
				return i
			}
			i += 11
		default:
			i += 5
		}
	}
	return -1
}

// hex4 reads the four hex digits at d[i].
func hex4(d []byte, i int) uint64 {
	n, _ := strconv.ParseUint(string(d[i:i+4]), 16, 16)
	return n
}

// kindOf names the type of a raw value, for people.
func kindOf(raw []byte) string {
	switch raw[0] {
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "an array"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	default:
		return "a number"
	}
}

func isNull(raw []byte) bool { return raw[0] == 'n' }
