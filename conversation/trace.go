package conversation

import (
	"strings"

	"github.com/nats-io/nats.go"
)

// Longest trace headers that are carried on, in bytes. W3C asks for 512 of
// tracestate; a traceparent is 55 today.
const (
	maxTraceParent = 256
	maxTraceState  = 1024
)

// Trace is the W3C trace context of a command, which its events carry on. The
// zero value is none.
type Trace struct {
	// Parent is the traceparent header.
	Parent string
	// State is the tracestate header; it counts only together with Parent.
	State string
}

// TraceOf reads the trace context of a message. Names may be in any case, as
// some libraries write Traceparent. What is too long or not printable ASCII is
// left out; otherwise values are not interpreted.
func TraceOf(h nats.Header) Trace {
	t := Trace{Parent: headerAnyCase(h, HeaderTraceparent)}
	if !printable(t.Parent, maxTraceParent) {
		return Trace{}
	}
	if s := headerAnyCase(h, HeaderTracestate); printable(s, maxTraceState) {
		t.State = s
	}
	return t
}

// traceParentLen is the length of a traceparent of version 00: version, trace id,
// parent's id and flags, with a dash between.
const traceParentLen = 2 + 1 + 32 + 1 + 16 + 1 + 2

// ID returns the trace id of Parent, 32 hexadecimal digits, as logs name a trace;
// "" where Parent isn't a traceparent as W3C defines it.
func (t Trace) ID() string {
	p := t.Parent
	if len(p) < traceParentLen || p[2] != '-' || p[35] != '-' || p[52] != '-' {
		return ""
	}
	version, id, parent, flags := p[:2], p[3:35], p[36:52], p[53:55]
	later := p[traceParentLen:] // a version to come may say more
	switch {
	case !hexadecimal(version), !hexadecimal(id), !hexadecimal(parent), !hexadecimal(flags),
		strings.Trim(id, "0") == "", strings.Trim(parent, "0") == "",
		version == "ff", version == "00" && later != "", later != "" && later[0] != '-':
		return ""
	}
	return id
}

// hexadecimal reports whether s has digits and lower-case letters up to f only.
func hexadecimal(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Set writes the trace context to h, names in lower case. It does nothing
// for the zero value.
func (t Trace) Set(h nats.Header) {
	if t.Parent == "" {
		return
	}
	h[HeaderTraceparent] = []string{t.Parent}
	if t.State != "" {
		h[HeaderTracestate] = []string{t.State}
	}
}

// headerAnyCase returns the values of name, joined by commas: those of the
// exact name, else of the first other spelling in the order of bytes.
func headerAnyCase(h nats.Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return strings.Join(v, ",")
	}
	found := ""
	for k, v := range h {
		if len(k) == len(name) && len(v) > 0 && (found == "" || k < found) && strings.EqualFold(k, name) {
			found = k
		}
	}
	return strings.Join(h[found], ",")
}

func printable(s string, maxLen int) bool {
	if s == "" || len(s) > maxLen {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
