package main

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"
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

// upTo complains where v is outside [1, most].
func (p *problems) upTo(flag string, v, most int) {
	if v < 1 || v > most {
		p.add(flag, "%d is out of range: expected 1 to %d", v, most)
	}
}

// lasting complains where d is outside [least, most].
func (p *problems) lasting(flag string, d, least, most time.Duration) {
	if d < least || d > most {
		p.add(flag, "%v is out of range: expected %v to %v", d, least, most)
	}
}

// hostPort complains where v is no address to listen on.
func (p *problems) hostPort(flag, v string) {
	if _, _, err := net.SplitHostPort(v); err != nil {
		p.add(flag, "%q is not an address: expected host:port or :port", v)
	}
}

// oneOf complains where v is none of words.
func (p *problems) oneOf(flag, v string, words ...string) {
	for _, w := range words {
		if v == w {
			return
		}
	}
	p.add(flag, "%q is not known: expected %s", v, strings.Join(words, ", "))
}

// except leaves out what is about one of flags.
func (p problems) except(flags []string) problems {
	var kept problems
	for _, err := range p {
		named, ok := err.(problem) //nolint:errorlint // ours, never wrapped
		drop := false
		for _, f := range flags {
			drop = drop || ok && named.flag == f
		}
		if !drop {
			kept = append(kept, err)
		}
	}
	return kept
}

// badURL says what is wrong with a URL, without its password; "" for nothing.
func badURL(s string, schemes ...string) string {
	if s == "" {
		return "is empty"
	}
	u, err := url.Parse(s)
	if err != nil {
		return "is not a URL" // the error would quote it
	}
	known := false
	for _, scheme := range schemes {
		known = known || u.Scheme == scheme
	}
	switch {
	case !known:
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
