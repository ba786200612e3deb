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

func printable(s string, most int) bool {
	if s == "" || len(s) > most {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
