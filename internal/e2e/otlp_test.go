package e2e

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// receiver takes traces as a collector does, by OTLP over HTTP, and keeps them.
type receiver struct {
	url    string
	status int // what it answers

	mu     sync.Mutex // guards what follows
	spans  []span
	calls  int
	header http.Header // of the last call
}

// span is one that the worker sent.
type span struct {
	*otlp.Span
	resource []*common.KeyValue
}

// newReceiver answers every call with a status until the test ends; only with 200
// it keeps what it gets.
func newReceiver(t testing.TB, status int) *receiver {
	t.Helper()
	rc := &receiver{status: status}
	server := httptest.NewServer(rc)
	t.Cleanup(server.Close)
	rc.url = server.URL
	return rc
}

// env is what makes a worker send its traces here, soon.
func (rc *receiver) env() []string {
	return []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + rc.url, "OTEL_BSP_SCHEDULE_DELAY=20"}
}

// ServeHTTP implements http.Handler.
func (rc *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	var export collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &export)
	}
	if err != nil || req.URL.Path != "/v1/traces" || req.Header.Get("Content-Type") != "application/x-protobuf" {
		http.Error(w, "not OTLP", http.StatusBadRequest)
		return
	}
	rc.mu.Lock()
	defer rc.mu.Unlock()
	rc.calls++
	rc.header = req.Header
	if rc.status != http.StatusOK {
		http.Error(w, "no", rc.status)
		return
	}
	for _, of := range export.GetResourceSpans() {
		for _, in := range of.GetScopeSpans() {
			for _, s := range in.GetSpans() {
				rc.spans = append(rc.spans, span{s, of.GetResource().GetAttributes()})
			}
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// seen returns the spans of a name, oldest first; of "" all.
func (rc *receiver) seen(name string) (found []span, calls int) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	for _, s := range rc.spans {
		if name == "" || s.GetName() == name {
			found = append(found, s)
		}
	}
	slices.SortStableFunc(found, func(a, b span) int { return cmp.Compare(a.GetStartTimeUnixNano(), b.GetStartTimeUnixNano()) })
	return found, rc.calls
}

// sent returns a header of the last call.
func (rc *receiver) sent(name string) string {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	return rc.header.Get(name)
}

// await waits until there are n spans of a name.
func (rc *receiver) await(t testing.TB, name string, n int) []span {
	t.Helper()
	var found []span
	if !poll(timeout, func() bool { found, _ = rc.seen(name); return len(found) >= n }) {
		all, _ := rc.seen("")
		t.Fatalf("%d spans %q; want %d; all:\n%s", len(found), name, n, spanLines(all))
	}
	return found
}

func spanLines(all []span) string {
	lines := make([]string, 0, len(all))
	for _, s := range all {
		lines = append(lines, s.text())
	}
	return strings.Join(lines, "\n")
}

// text is the whole span.
func (s span) text() string { return protojson.Format(s.Span) }

func (s span) id() string     { return hex.EncodeToString(s.GetSpanId()) }
func (s span) parent() string { return hex.EncodeToString(s.GetParentSpanId()) }
func (s span) trace() string  { return hex.EncodeToString(s.GetTraceId()) }

// failed says whether its status is an error.
func (s span) failed() bool { return s.GetStatus().GetCode() == otlp.Status_STATUS_CODE_ERROR }

// attr returns an attribute as text, "" if it is absent.
func (s span) attr(name string) string { return attrOf(s.GetAttributes(), name) }

func attrOf(all []*common.KeyValue, name string) string {
	for _, kv := range all {
		if kv.GetKey() != name {
			continue
		}
		switch v := kv.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			return v.StringValue
		case *common.AnyValue_IntValue:
			return fmt.Sprint(v.IntValue)
		case *common.AnyValue_BoolValue:
			return fmt.Sprint(v.BoolValue)
		default:
			return fmt.Sprintf("%T", v)
		}
	}
	return ""
}

// wantSpan asserts where a span stands and its attributes, in pairs of name and
// value.
func wantSpan(t testing.TB, s span, trace, parent string, attrs ...any) {
	t.Helper()
	if s.trace() != trace || s.parent() != parent {
		t.Errorf("%s is in trace %s below %s; want %s below %s", s.GetName(), s.trace(), s.parent(), trace, parent)
	}
	for i := 0; i+1 < len(attrs); i += 2 {
		name, want := fmt.Sprint(attrs[i]), fmt.Sprint(attrs[i+1])
		if got := s.attr(name); got != want {
			t.Errorf("%s has %s %q; want %q", s.GetName(), name, got, want)
		}
	}
}
