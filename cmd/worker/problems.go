package main

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// problem is one thing that is wrong with a flag.
type problem struct{ flag, text string }

// Error names the flag and its variable.
func (p problem) Error() string { return labelOf(p.flag) + ": " + p.text }

func labelOf(flag string) string {
	if name := variableOf(flag); name != "" {
		return "--" + flag + " (" + name + ")"
	}
	return "--" + flag
}

// problems collects what is wrong.
type problems []error

func (p *problems) add(flag, format string, args ...any) {
	*p = append(*p, problem{flag, fmt.Sprintf(format, args...)})
}

// outOfRange complains about each flag whose value is outside of its tag range, unless
// it is 0 and the tag zero says what that means. A flag that wasn't given and has no
// default is within.
func (p *problems) outOfRange(flags []*kong.Flag) {
	for _, f := range flags {
		v := f.Target
		if v.Kind() == reflect.Pointer {
			v = v.Elem()
		}
		if f.Tag.Has("range") && v.IsValid() && !within(v.Interface(), f.Tag.Get("range")) && (!v.IsZero() || !f.Tag.Has("zero")) {
			p.add(f.Name, "%v is out of range: expected %s", v.Interface(), rangeOf(f))
		}
	}
}

// within reports whether v is in a range such as 1ms..10s, or 8MiB.. without an upper end.
func within(v any, bounds string) bool {
	low, high, _ := strings.Cut(bounds, "..")
	switch v := v.(type) {
	case int:
		return between(v, low, high, strconv.Atoi)
	case float64:
		return between(v, low, high, parseFactor)
	case byteSize:
		return between(v, low, high, parseSize)
	case time.Duration:
		return between(v, low, high, time.ParseDuration)
	}
	panic(fmt.Sprintf("BUG: a range of %T", v))
}

func between[T cmp.Ordered](v T, low, high string, read func(string) (T, error)) bool {
	minimum, err := read(low)
	if err != nil {
		panic("BUG: range " + low)
	}
	if high == "" {
		return v >= minimum
	}
	maximum, err := read(high)
	if err != nil {
		panic("BUG: range " + high)
	}
	return v >= minimum && v <= maximum
}

// rangeOf describes a flag's range, "" if it has none: 1ms to 24h, or 0 for off.
func rangeOf(f *kong.Flag) string {
	low, high, ranged := strings.Cut(f.Tag.Get("range"), "..")
	text := low + " to " + high
	switch {
	case !ranged:
		return ""
	case high == "":
		text = low + " or more"
	}
	if f.Tag.Has("zero") {
		text += ", or 0 for " + f.Tag.Get("zero")
	}
	return text
}

// hostPort complains where v is no address to listen on.
func (p *problems) hostPort(flag, v string) {
	if _, _, err := net.SplitHostPort(v); err != nil {
		p.add(flag, "%q is not an address: expected host:port or :port", v)
	}
}

// oneOf complains where v is none of words.
func (p *problems) oneOf(flag, v string, words ...string) {
	if slices.Contains(words, v) {
		return
	}
	p.add(flag, "%q is not known: expected %s", v, strings.Join(words, ", "))
}

// except leaves out what is about one of flags.
func (p problems) except(flags []string) problems {
	var kept problems
	for _, err := range p {
		named, ok := err.(problem) //nolint:errorlint // ours, never wrapped
		if !ok || !slices.Contains(flags, named.flag) {
			kept = append(kept, err)
		}
	}
	return kept
}

// badURL returns what is wrong with a URL, without its password; "" for nothing.
func badURL(s string, schemes ...string) string {
	if s == "" {
		return "is empty"
	}
	u, err := url.Parse(s)
	if err != nil {
		return "is not a URL" // the error would quote it
	}
	switch {
	case !slices.Contains(schemes, u.Scheme):
		return "has no known scheme"
	case u.Host == "":
		return "names no host"
	}
	return ""
}

// readable complains where a file is named that can't be read.
func readable(p *problems, flag, path string) {
	if path == "" {
		return
	}
	f, err := os.Open(path)
	if err != nil {
		p.add(flag, "%v: expected a file that can be read", err)
		return
	}
	_ = f.Close() // only read
}
