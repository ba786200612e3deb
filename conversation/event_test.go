package conversation_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
)

var (
	noon = time.Date(2026, 11, 23, 12, 0, 0, 12_345_678, time.FixedZone("", 3600))
	gone = conversation.Deleted{
		CommandID: "1", AppID: "a.b", UserID: "al ice", ConversationID: `c "é"%`, ThroughSeq: 1200, MessagesDeleted: 1100,
		ConversationRemoved: true, Erased: true, OriginDeviceID: "phone", RequestedAt: noon.Add(-time.Second), CompletedAt: noon,
	}
	failed = conversation.DeleteFailed{
		CommandID: "1", AppID: "demo", UserID: "alice", Reason: conversation.ReasonInvalidCommand, Message: "no", FailedAt: noon,
	}
	erased  = conversation.Erased{CommandID: "1", AppID: "demo", UserID: "alice", ConversationID: "group_42", ThroughSeq: 7, ErasedAt: noon}
	allGone = conversation.AllDeleted{
		CommandID: "1", AppID: "demo", UserID: "alice", Conversations: 3, Failed: 1, MessagesDeleted: 9, MultiClientSync: true,
		OriginDeviceID: "phone", RequestedAt: noon, CompletedAt: noon,
	}
	trace = conversation.Trace{Parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", State: "x=y"}
)

func TestDeletedMessageIsTheContracts(t *testing.T) {
	t.Parallel()
	msg, err := gone.Msg(trace)
	if err != nil {
		t.Fatal(err)
	}
	if want := "conversation.deleted.a%2Eb.al%20ice"; msg.Subject != want {
		t.Errorf("subject %q; want %q", msg.Subject, want)
	}
	id := conversation.DeletedID("a.b", "1", `c "é"%`)
	want := nats.Header{
		"ce-specversion": {"1.0"}, "ce-type": {"conversation.deleted"}, "ce-source": {"lethe/a%2Eb"}, "ce-id": {id}, "Nats-Msg-Id": {id},
		"ce-time": {"2026-11-23T11:00:00.012345Z"}, "ce-subject": {"c%20%22%C3%A9%22%25"}, "content-type": {"application/json"},
		"traceparent": {trace.Parent}, "tracestate": {"x=y"},
	}
	if diff := cmp.Diff(want, msg.Header); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	const body = `{"command_id":"1","app_id":"a.b","user_id":"al ice","conversation_id":"c \"é\"%","through_seq":1200,` +
		`"messages_deleted":1100,"history_kept":false,"conversation_removed":true,"erased":true,"multi_client_sync":false,` +
		`"origin_device_id":"phone","requested_at":"2026-11-23T10:59:59.012345678Z","completed_at":"2026-11-23T11:00:00.012345Z"}`
	if string(msg.Data) != body {
		t.Errorf("body %s; want %s", msg.Data, body)
	}
}

func TestEventsOfTheSecondVersionAreTheContracts(t *testing.T) {
	t.Parallel()
	everyone := gone
	everyone.Scope, everyone.RequestedBy, everyone.Erased = conversation.ScopeEveryone, "bob", false
	for name, row := range map[string]struct {
		event interface {
			Msg(conversation.Trace) (*nats.Msg, error)
			ID() string
		}
		subject, ceSubject, ceTime, body string
	}{
		"conversation.deleted": {
			everyone, "conversation.deleted.a%2Eb.al%20ice", "c%20%22%C3%A9%22%25", "2026-11-23T11:00:00.012345Z",
			`{"command_id":"1","app_id":"a.b","user_id":"al ice","conversation_id":"c \"é\"%","through_seq":1200,"messages_deleted":1100,` +
				`"history_kept":false,"conversation_removed":true,"erased":false,"scope":"everyone","requested_by":"bob","multi_client_sync":false,` +
				`"origin_device_id":"phone","requested_at":"2026-11-23T10:59:59.012345678Z","completed_at":"2026-11-23T11:00:00.012345Z"}`,
		},
		"conversation.erased": {
			erased, "conversation.erased.demo.alice", "group_42", "2026-11-23T11:00:00.012345Z",
			`{"command_id":"1","app_id":"demo","user_id":"alice","conversation_id":"group_42","through_seq":7,"erased_at":"2026-11-23T11:00:00.012345Z"}`,
		},
		"conversation.all_deleted": {
			allGone, "conversation.all_deleted.demo.alice", "", "2026-11-23T11:00:00.012345Z",
			`{"command_id":"1","app_id":"demo","user_id":"alice","conversations":3,"failed":1,"messages_deleted":9,"multi_client_sync":true,` +
				`"origin_device_id":"phone","requested_at":"2026-11-23T11:00:00.012345678Z","completed_at":"2026-11-23T11:00:00.012345Z"}`,
		},
	} {
		msg, err := row.event.Msg(trace)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		id := row.event.ID()
		want := nats.Header{
			"ce-specversion": {"1.0"}, "ce-type": {name}, "ce-source": {msg.Header["ce-source"][0]}, "ce-id": {id}, "Nats-Msg-Id": {id},
			"ce-time": {row.ceTime}, "content-type": {"application/json"}, "traceparent": {trace.Parent}, "tracestate": {"x=y"},
		}
		if row.ceSubject != "" {
			want["ce-subject"] = []string{row.ceSubject}
		}
		if diff := cmp.Diff(want, msg.Header); diff != "" || msg.Subject != row.subject {
			t.Errorf("%s on %s: headers (-want +got):\n%s", name, msg.Subject, diff)
		}
		if string(msg.Data) != row.body {
			t.Errorf("%s: body %s; want %s", name, msg.Data, row.body)
		}
		e, err := conversation.ParseEvent(msg.Subject, msg.Header, msg.Data)
		if err != nil || e.ID != id || e.CommandID() != "1" || (e.ConversationID() == "") != (row.ceSubject == "") {
			t.Errorf("%s: ParseEvent = %+v, %v", name, e, err)
		}
		if _, err := conversation.ParseEvent(row.subject+"x", msg.Header, msg.Data); err == nil {
			t.Errorf("%s: ParseEvent accepts another user's subject", name)
		}
	}
	for name, event := range map[string]any{"erased": conversation.Erased{}, "all_deleted": conversation.AllDeleted{}, "deleted": conversation.Deleted{}} {
		data, err := json.Marshal(event)
		if err != nil || strings.Contains(string(data), "requested") || strings.Contains(string(data), "device") || strings.Contains(string(data), "scope") {
			t.Errorf("%s without more: %s, %v", name, data, err)
		}
	}
}

// Workers that knew only copies left erased out.
func TestAnOlderDeletedIsErased(t *testing.T) {
	t.Parallel()
	msg, err := gone.Msg(trace)
	if err != nil {
		t.Fatal(err)
	}
	for old, want := range map[string]bool{"": true, `"erased":true,`: true, `"erased":false,`: false} {
		data := strings.Replace(string(msg.Data), `"erased":true,`, old, 1)
		e, err := conversation.ParseEvent(msg.Subject, msg.Header, []byte(data))
		if err != nil || e.Deleted.Erased != want {
			t.Errorf("%s: %+v, %v; want erased %v", data, e.Deleted, err, want)
		}
	}
}

func TestEventsLeaveOutWhatTheCommandHadNot(t *testing.T) {
	t.Parallel()
	e := gone
	e.OriginDeviceID, e.RequestedAt = "", time.Time{}
	for name, row := range map[string]struct {
		event  any
		absent []string
	}{
		"deleted":  {e, []string{"origin_device_id", "requested_at"}},
		"failed":   {conversation.DeleteFailed{AppID: "a", UserID: "u"}, []string{"command_id", "conversation_id", "origin_device_id"}},
		"deleting": {conversation.Deleting{}, []string{"waiting_for"}},
	} {
		data, err := json.Marshal(row.event)
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range row.absent {
			if strings.Contains(string(data), field) {
				t.Errorf("%s: %s has %s; want it absent", name, data, field)
			}
		}
	}
}

func TestFailureOfAWholeCommandHasNoSubjectHeader(t *testing.T) {
	t.Parallel()
	msg, err := failed.Msg(42, conversation.Trace{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ce-subject", "traceparent", "tracestate"} {
		if _, ok := msg.Header[name]; ok {
			t.Errorf("header %s = %q; want it absent", name, msg.Header[name])
		}
	}
	if want := conversation.DeleteFailedID("demo", "1", "", 42); msg.Header.Get("ce-id") != want || msg.Header.Get("Nats-Msg-Id") != want {
		t.Errorf("headers %v; want id %s", msg.Header, want)
	}
	if msg.Subject != "conversation.delete_failed.demo.alice" {
		t.Errorf("subject %s", msg.Subject)
	}
}

func TestEventIDsDependOnTheirPartsAlone(t *testing.T) {
	t.Parallel()
	later := gone
	later.CompletedAt, later.MultiClientSync = noon.Add(time.Hour), true
	a, _ := gone.Msg(trace)
	b, _ := later.Msg(conversation.Trace{})
	if a.Header.Get("ce-id") != b.Header.Get("ce-id") {
		t.Error("the id of a deletion depends on more than app, command and conversation")
	}
	of := func(user, scope string) string {
		return conversation.Deleted{AppID: "a", CommandID: "b", ConversationID: "c", UserID: user, Scope: scope}.ID()
	}
	if of("u", "") != of("v", "") || of("u", "") != conversation.DeletedID("a", "b", "c") {
		t.Error("the id of a user's own deletion depends on the user")
	}
	ids := []string{
		0: conversation.DeletedID("a", "b", "c"), conversation.DeletedID("ab", "", "c"), conversation.DeletedID("a", "bc", ""),
		conversation.DeletedID("", "ab", "c"), conversation.DeletedID("b", "a", "c"),
		conversation.DeleteFailedID("a", "b", "c", 0), conversation.DeleteFailedID("a", "b", "c", 1),
		conversation.DeleteFailedID("a", "b", "", 1), conversation.DeleteFailedID("a", "b", "", 256),
		of("u", "everyone"), of("v", "everyone"),
		conversation.Erased{AppID: "a", CommandID: "b", ConversationID: "c", UserID: "u"}.ID(),
		conversation.Erased{AppID: "a", CommandID: "b", ConversationID: "c", UserID: "v"}.ID(),
		conversation.Erased{AppID: "a", CommandID: "b", ConversationID: "d", UserID: "u"}.ID(),
		conversation.AllDeleted{AppID: "a", CommandID: "b"}.ID(), conversation.AllDeleted{AppID: "a", CommandID: "c"}.ID(),
	}
	seen := map[string]int{}
	for i, id := range ids {
		if j, twice := seen[id]; twice || len(id) != 32 {
			t.Errorf("ids %d and %d are %q", j, i, id)
		}
		seen[id] = i
	}
	// Events of earlier versions stay in the stream for 30 days, so the ids may not change.
	if got, want := ids[0], "2aac0a771eddc3e2542c1ffa54e0798f"; got != want {
		t.Errorf("DeletedID(a, b, c) = %s; want %s as ever", got, want)
	}
}

func TestProgressMessagesHaveIDsOfTheirOwn(t *testing.T) {
	t.Parallel()
	p := conversation.Deleting{CommandID: "1", AppID: "a", UserID: "u", ConversationID: "c", ThroughSeq: 9, PurgedThroughSeq: 3}
	a, err := p.Msg(trace)
	if err != nil {
		t.Fatal(err)
	}
	p.MessagesDeleted++
	b, err := p.Msg(trace)
	if err != nil {
		t.Fatal(err)
	}
	if a.Header.Get("ce-id") == b.Header.Get("ce-id") || a.Subject != "conversation.deleting.a.u" {
		t.Errorf("ids %s and %s on %s", a.Header.Get("ce-id"), b.Header.Get("ce-id"), a.Subject)
	}
	if at, err := time.Parse(time.RFC3339, a.Header.Get("ce-time")); err != nil || time.Since(at).Abs() > time.Minute {
		t.Errorf("ce-time %s, %v; want about now", a.Header.Get("ce-time"), err)
	}
}

func TestMsgRefusesWhatHasNoSubject(t *testing.T) {
	t.Parallel()
	if _, err := (conversation.Deleted{AppID: "a"}).Msg(trace); err == nil {
		t.Error("Msg without a user = nil; want an error")
	}
	if _, err := (conversation.DeleteFailed{UserID: "u"}).Msg(1, trace); err == nil {
		t.Error("Msg without an app = nil; want an error")
	}
	late := gone
	late.CompletedAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, err := late.Msg(trace); err == nil {
		t.Error("Msg in the year 10000 = nil; want an error")
	}
}

func TestParseEventReadsWhatMsgWrites(t *testing.T) {
	t.Parallel()
	deleted, _ := gone.Msg(trace)
	failure, _ := failed.Msg(7, trace)
	running := conversation.Deleting{CommandID: "1", AppID: "a", UserID: "u", ConversationID: "c", WaitingFor: "a lock"}
	progress, _ := running.Msg(trace)

	wantGone := gone
	wantGone.RequestedAt, wantGone.CompletedAt = gone.RequestedAt.UTC(), micro(gone.CompletedAt)
	wantFailed := failed
	wantFailed.FailedAt = micro(failed.FailedAt)
	for _, row := range []struct {
		msg  *nats.Msg
		want conversation.Event
	}{
		{deleted, conversation.Event{Type: conversation.TypeDeleted, Source: "lethe/a%2Eb", Deleted: &wantGone}},
		{failure, conversation.Event{Type: conversation.TypeDeleteFailed, Source: "lethe/demo", Failed: &wantFailed}},
		{progress, conversation.Event{Type: conversation.TypeDeleting, Source: "lethe/a", Deleting: &running}},
	} {
		got, err := conversation.ParseEvent(row.msg.Subject, row.msg.Header, row.msg.Data)
		if err != nil {
			t.Fatal(err)
		}
		if got.CommandID() != "1" || got.Time.IsZero() || got.ID != row.msg.Header.Get("ce-id") || got.Trace != trace {
			t.Errorf("ParseEvent = %+v", got)
		}
		got.ID, got.Time, got.Trace = "", time.Time{}, conversation.Trace{}
		if !reflect.DeepEqual(got, row.want) {
			t.Errorf("ParseEvent = %+v; want %+v", got, row.want)
		}
	}
}

func micro(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

func TestParseEventRefuses(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		change func(*nats.Msg)
		want   string
	}{
		"another subject":     {func(m *nats.Msg) { m.Subject = "conversation.deleted.a%2Eb.mallory" }, "came on"},
		"another type":        {func(m *nats.Msg) { m.Header["ce-type"] = []string{"x"} }, "unknown type"},
		"a type not its own":  {func(m *nats.Msg) { m.Header["ce-type"] = []string{conversation.TypeDeleting} }, "came on"},
		"no id":               {func(m *nats.Msg) { delete(m.Header, "ce-id") }, "ce-id: is missing"},
		"no headers":          {func(m *nats.Msg) { m.Header = nil }, "ce-specversion"},
		"another CloudEvents": {func(m *nats.Msg) { m.Header["ce-specversion"] = []string{"2.0"} }, "ce-specversion"},
		"a bad time":          {func(m *nats.Msg) { m.Header["ce-time"] = []string{"noon"} }, "ce-time"},
		"no JSON":             {func(m *nats.Msg) { m.Data = []byte("x") }, "invalid character"},
		"an empty body":       {func(m *nats.Msg) { m.Data = []byte("{}") }, "app_id or user_id is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			msg, err := gone.Msg(trace)
			if err != nil {
				t.Fatal(err)
			}
			row.change(msg)
			if _, err := conversation.ParseEvent(msg.Subject, msg.Header, msg.Data); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("ParseEvent = %v; want an error with %q", err, row.want)
			}
		})
	}
	msg, _ := gone.Msg(trace)
	msg.Header["ce-type"] = []string{"conversation.archived"}
	if _, err := conversation.ParseEvent("", msg.Header, msg.Data); !errors.Is(err, conversation.ErrUnknownType) {
		t.Errorf("ParseEvent = %v; want ErrUnknownType", err)
	}
}

func TestTraceIsReadInAnyCaseAndWrittenInLower(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 5000)
	for name, row := range map[string]struct {
		in   nats.Header
		want conversation.Trace
	}{
		"none":                    {nil, conversation.Trace{}},
		"lower":                   {nats.Header{"traceparent": {"p"}, "tracestate": {"s"}}, conversation.Trace{Parent: "p", State: "s"}},
		"canonical":               {nats.Header{"Traceparent": {"p"}, "Tracestate": {"s"}}, conversation.Trace{Parent: "p", State: "s"}},
		"lower wins":              {nats.Header{"Traceparent": {"no"}, "traceparent": {"p"}}, conversation.Trace{Parent: "p"}},
		"several states":          {nats.Header{"traceparent": {"p"}, "tracestate": {"a=1", "b=2"}}, conversation.Trace{Parent: "p", State: "a=1,b=2"}},
		"a state alone":           {nats.Header{"tracestate": {"s"}}, conversation.Trace{}},
		"a parent too long":       {nats.Header{"traceparent": {long}}, conversation.Trace{}},
		"a state too long":        {nats.Header{"traceparent": {"p"}, "tracestate": {long}}, conversation.Trace{Parent: "p"}},
		"a control in the parent": {nats.Header{"traceparent": {"p\r\nx: y"}}, conversation.Trace{}},
	} {
		if got := conversation.TraceOf(row.in); got != row.want {
			t.Errorf("%s: TraceOf = %+v; want %+v", name, got, row.want)
		}
	}
	h := nats.Header{}
	trace.Set(h)
	conversation.Trace{State: "x"}.Set(h)
	if want := (nats.Header{"traceparent": {trace.Parent}, "tracestate": {"x=y"}}); !reflect.DeepEqual(h, want) {
		t.Errorf("Set wrote %v; want %v", h, want)
	}
}

func TestATraceHasAnIDWhereItsParentIsValid(t *testing.T) {
	t.Parallel()
	const id = "0af7651916cd43dd8448eb211c80319c"
	for parent, want := range map[string]string{
		"00-" + id + "-b7ad6b7169203331-01":               id,
		"00-" + id + "-b7ad6b7169203331-00":               id,
		"cc-" + id + "-b7ad6b7169203331-01-what may come": id,
		"":                                       "",
		"p":                                      "",
		"00-" + id + "-b7ad6b7169203331-0":       "",
		"00-" + id + "-b7ad6b7169203331-011":     "",
		"00-" + id + "-b7ad6b7169203331-01-more": "",
		"cc-" + id + "-b7ad6b7169203331-011":     "",
		"ff-" + id + "-b7ad6b7169203331-01":      "",
		"0x-" + id + "-b7ad6b7169203331-01":      "",
		"00-" + strings.ToUpper(id) + "-b7ad6b7169203331-01":     "",
		"00-" + strings.Repeat("0", 32) + "-b7ad6b7169203331-01": "",
		"00-" + id + "-0000000000000000-01":                      "",
		"00-" + id + "_b7ad6b7169203331-01":                      "",
		"00-" + id + "-b7ad6b7169203331-zz":                      "",
		strings.Repeat("-", 55):                                  "",
	} {
		if got := (conversation.Trace{Parent: parent}).ID(); got != want {
			t.Errorf("ID of %q = %q; want %q", parent, got, want)
		}
	}
}

func BenchmarkDeletedMsg(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := gone.Msg(trace); err != nil {
			b.Fatal(err)
		}
	}
}
