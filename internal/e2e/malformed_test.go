package e2e

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
)

// specimen is one command that a hostile or broken producer might send.
type specimen struct {
	name    string
	data    string
	subject string // "" for conversation.delete.demo
	headers []string
	app     string // token of the dead letter's subject; "" for demo
	told    string // user who is told of the failure; "" for nobody, "?" for either
	reason  string // "" for invalid_command
}

// body is a valid command whose parts are replaced by what is given: name and raw
// JSON in turns. The value "-" leaves the field out.
func body(parts ...string) string {
	fields := []string{
		"command_id", "app_id", "user_id", "device_id", "conversations", "all_conversations", "scope", "keep_history", "keep_conversation", "requested_at",
	}
	raw := map[string]string{"command_id": `"c"`, "app_id": `"demo"`, "user_id": `"alice"`, "conversations": `[{"id":"g"}]`}
	for i := 0; i+1 < len(parts); i += 2 {
		raw[parts[i]] = parts[i+1]
	}
	var b strings.Builder
	for _, f := range fields {
		if v := raw[f]; v != "" && v != "-" {
			fmt.Fprintf(&b, `,%q:%s`, f, v)
		}
	}
	return "{" + strings.TrimPrefix(b.String(), ",") + "}"
}

// notOneObject are texts that are no single JSON object: nobody can be told.
func notOneObject() []specimen {
	valid := body()
	var all []specimen
	for name, data := range map[string]string{
		"nothing": "", "spaces": " \n\t", "null": "null", "array": "[" + valid + "]", "empty_array": "[]", "number": "42", "string": `"conversation"`,
		"quoted": `"` + strings.ReplaceAll(valid, `"`, `\"`) + `"`, "true": "true", "brace": "{", "closed": "}", "half": valid[:len(valid)/2], "almost": valid[:len(valid)-1],
		"two": valid + valid, "two_lines": valid + "\n" + valid, "trailing_word": valid + " x", "trailing_comma": valid + ",", "trailing_brace": valid + "}",
		"trailing_nul": valid + "\x00", "trailing_array": valid + "[]", "leading_nul": "\x00" + valid, "byte_order_mark": "\ufeff" + valid,
		"utf16": "\xff\xfe{\x00}\x00", "comma_in_object": strings.Replace(valid, "}]}", "}],}", 1), "comma_in_array": strings.Replace(valid, "}]", "},]", 1),
		"single_quotes": strings.ReplaceAll(valid, `"`, `'`), "comment": "/* x */" + valid, "line_comment": valid + "// x", "bare_names": `{command_id:"c"}`,
		"nan": body("keep_history", "NaN"), "infinity": body("requested_at", "Infinity"), "hex": body("conversations", `[{"id":"g","through_seq":0x10}]`),
		"leading_zero": body("conversations", `[{"id":"g","through_seq":007}]`), "plus": body("conversations", `[{"id":"g","through_seq":+7}]`),
		"python": body("keep_history", "True"), "raw_newline": body("user_id", "\"ali\nce\""), "raw_nul": body("user_id", "\"ali\x00ce\""),
		"bad_escape": body("user_id", `"\x41"`), "short_escape": body("user_id", `"\u12"`), "open_string": `{"command_id":"c`,
		"binary": "\x00\x01\x02\xff\xfe", "gzip": "\x1f\x8b\x08\x00", "html": "<!doctype html>", "protobuf": "\x0a\x01c\x12\x04demo", "xml": "<?xml version='1.0'?><delete/>",
		"no_colon": `{"command_id" "c"}`, "two_colons": `{"command_id"::"c"}`, "big_garbage": strings.Repeat("garbage ", 900*1024/8),
		"deep": strings.Repeat("[", 100_000), "deep_objects": strings.Repeat(`{"a":`, 100_000),
	} {
		all = append(all, specimen{name: "not_one_object_" + name, data: data})
	}
	return all
}

// unsound are commands whose text is not sound UTF-8.
func unsound() []specimen {
	var all []specimen
	for name, bad := range map[string]string{
		"latin1": "\xe9", "cut": "\xf0\x9f\x98", "overlong_nul": "\xc0\x80", "overlong_slash": "\xe0\x80\xaf", "surrogate": "\xed\xa0\x80", "cesu": "\xed\xa0\xbd\xed\xb8\x80",
		"beyond": "\xf4\x90\x80\x80", "continuation": "\x80", "fe": "\xfe", "lone_high": `\ud800`, "lone_low": `\udc00`, "two_high": `\ud800\ud800`, "reversed": `\udc00\ud800`,
		"high_and_letter": `\ud83dx`, "high_and_escape": `\ud83d\n`, "high_and_wrong": `\ud83d\u0041`,
	} {
		all = append(all,
			specimen{name: "unsound_user_" + name, data: body("user_id", `"al`+bad+`ice"`)},
			specimen{name: "unsound_conversation_" + name, data: body("conversations", `[{"id":"`+bad+`"}]`), told: "?"},
			specimen{name: "unsound_unknown_" + name, data: strings.Replace(body(), "{", `{"note":"`+bad+`",`, 1), told: "?"},
			specimen{name: "unsound_name_" + name, data: strings.Replace(body(), "{", `{"`+bad+`":1,`, 1), told: "?"})
	}
	return all
}

// broken are single JSON objects that break a rule. Alice is told of most.
func broken() []specimen {
	var all []specimen
	add := func(name, told, data string) {
		all = append(all, specimen{name: "broken_" + name, data: data, told: told})
	}
	long := func(n int) string { return `"` + strings.Repeat("x", n) + `"` }
	wrong := map[string]string{"number": "7", "true": "true", "array": `["x"]`, "object": `{"x":1}`, "zero": "0", "fraction": "1.5"}
	for field, most := range map[string]int{"command_id": 128, "app_id": 64, "user_id": 128, "device_id": 128} {
		told := map[bool]string{true: "alice", false: ""}[field != "user_id"] // the subject tells the app
		for kind, v := range wrong {
			add(field+"_"+kind, told, body(field, v))
		}
		add(field+"_long", told, body(field, long(most+1)))
		add(field+"_very_long", told, body(field, long(100_000)))
		add(field+"_long_in_bytes", told, body(field, `"`+strings.Repeat("ü", most/2+1)+`"`))
		for kind, control := range map[string]string{"nul": `\u0000`, "newline": `\n`, "escape": `\u001b[31m`, "delete": `\u007f`, "raw_delete": "\x7f", "c1": `\u0085`, "raw_c1": "\u009f"} {
			add(field+"_"+kind, told, body(field, `"a`+control+`"`))
		}
		twice := strings.Replace(body(field, `"demo"`), "{", fmt.Sprintf(`{%q:"demo",`, field), 1)
		add(field+"_twice", "?", twice)
		add(field+"_twice_escaped", "?", strings.Replace(body(field, `"demo"`), "{", fmt.Sprintf(`{"\u%04x%s":"demo",`, field[0], field[1:]), 1))
		add(field+"_twice_with_null", "?", strings.Replace(body(field, `"demo"`), "{", fmt.Sprintf(`{%q:null,`, field), 1))
		if field != "device_id" {
			add(field+"_missing", told, body(field, "-"))
			add(field+"_null", told, body(field, "null"))
			add(field+"_empty", told, body(field, `""`))
			add(field+"_in_capitals", told, strings.Replace(body(), field, strings.ToUpper(field), 1))
		}
	}
	for name, v := range map[string]string{
		"missing": "-", "null": "null", "empty": "[]", "object": `{"id":"g"}`, "string": `"g"`, "number": "1", "strings": `["g"]`, "nulls": "[null]", "nested": `[[{"id":"g"}]]`,
		"no_id": "[{}]", "null_id": `[{"id":null}]`, "empty_id": `[{"id":""}]`, "number_id": `[{"id":42}]`, "object_id": `[{"id":{}}]`, "array_id": `[{"id":["g"]}]`, "bool_id": `[{"id":false}]`,
		"capital_id": `[{"ID":"g"}]`, "long_id": `[{"id":` + long(257) + `}]`, "long_id_in_bytes": `[{"id":"` + strings.Repeat("€", 86) + `"}]`, "nul_id": `[{"id":"g\u0000"}]`, "tab_id": `[{"id":"g\t"}]`, "c1_id": `[{"id":"\u0080"}]`,
		"twice": `[{"id":"g"},{"id":"g"}]`, "twice_with_other_seqs": `[{"id":"g","through_seq":1},{"id":"g","through_seq":2}]`, "twice_escaped": `[{"id":"g"},{"id":"\u0067"}]`, "second_is_bad": `[{"id":"g"},{}]`,
		"two_ids": `[{"id":"g","id":"h"}]`, "same_id_twice_in_one": `[{"id":"g","id":"g"}]`, "two_seqs": `[{"id":"g","through_seq":1,"through_seq":1}]`, "two_seqs_one_null": `[{"id":"g","through_seq":null,"through_seq":1}]`,
		"negative": `[{"id":"g","through_seq":-1}]`, "fraction": `[{"id":"g","through_seq":1.5}]`, "string_seq": `[{"id":"g","through_seq":"5"}]`, "beyond": `[{"id":"g","through_seq":9223372036854775808}]`,
		"far_beyond": `[{"id":"g","through_seq":` + strings.Repeat("9", 400) + `}]`, "exponent": `[{"id":"g","through_seq":1e400}]`, "tiny": `[{"id":"g","through_seq":1e-1}]`, "most_negative": `[{"id":"g","through_seq":-9223372036854775808}]`,
		"bool_seq": `[{"id":"g","through_seq":true}]`, "array_seq": `[{"id":"g","through_seq":[1]}]`, "object_seq": `[{"id":"g","through_seq":{}}]`, "empty_seq": `[{"id":"g","through_seq":""}]`,
		"101": "[" + strings.TrimSuffix(strings.Repeat(`{"id":"g"},`, 101), ",") + "]", "101_distinct": manyTargets(101), "5000": manyTargets(5000),
	} {
		add("conversations_"+name, "alice", body("conversations", v))
	}
	for name, v := range map[string]string{"string": `"true"`, "one": "1", "zero": "0", "array": "[]", "object": "{}", "empty": `""`} {
		for _, field := range []string{"keep_history", "keep_conversation", "all_conversations", "scope"} {
			add(field+"_"+name, "alice", body(field, v))
		}
	}
	for name, parts := range map[string][]string{
		"unknown_scope":                 {"scope", `"others"`},
		"capital_scope":                 {"scope", `"Everyone"`},
		"all_beside_conversations":      {"all_conversations", "true"},
		"all_beside_no_conversations":   {"all_conversations", "true", "conversations", "[]"},
		"not_all_and_no_conversations":  {"all_conversations", "false", "conversations", "-"},
		"all_for_everyone":              {"all_conversations", "true", "conversations", "-", "scope", `"everyone"`},
		"history_kept_for_everyone":     {"keep_history", "true", "scope", `"everyone"`},
		"history_and_conversation_kept": {"keep_history", "true", "keep_conversation", "true"},
	} {
		add(name, "alice", body(parts...))
	}
	add("keep_history_twice", "alice", strings.Replace(body("keep_history", "true"), "{", `{"keep_history":false,`, 1))
	add("conversations_twice", "alice", strings.Replace(body(), "{", `{"conversations":[{"id":"h"}],`, 1))
	add("requested_at_twice", "alice", strings.Replace(body("requested_at", `"2026-11-23T09:00:00Z"`), "{", `{"requested_at":"2026-11-23T09:00:00Z",`, 1))
	for _, v := range []string{
		"", "yesterday", "2026-11-23", "2026-11-23T09:00:00", "2026-11-23T09:00Z", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-00-10T00:00:00Z", "2026-11-23T25:00:00Z",
		"2026-11-23T09:60:00Z", "2026-11-23T9:00:00Z", "2026-11-23T09:00:00,5Z", "2026-11-23T09:00:00.Z", "2026-11-23T09:00:00+1", "2026-11-23T09:00:00+0100", "2026-11-23T09:00:00+25:00", "1763888400",
		"20261123T090000Z", "26-11-23T09:00:00Z", " 2026-11-23T09:00:00Z", "2026-11-23T09:00:00Z ", "Mon, 23 Nov 2026 09:00:00 GMT", strings.Repeat("2", 10_000),
	} {
		add(fmt.Sprintf("requested_at_%.30q", v), "alice", body("requested_at", fmt.Sprintf("%q", v)))
	}
	for name, v := range map[string]string{"number": "1763888400", "bool": "true", "array": "[]", "object": "{}"} {
		add("requested_at_"+name, "alice", body("requested_at", v))
	}
	return all
}

func manyTargets(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,{"id":"g%d"}`, i)
	}
	return "[" + strings.TrimPrefix(b.String(), ",") + "]"
}

// misled are broken commands that come with misleading subjects and headers.
func misled() []specimen {
	return []specimen{
		{name: "nobody_knows_the_app", data: "x", subject: "conversation.delete", app: "_"},
		{name: "neither_knows_the_app", data: body("app_id", "7"), subject: "conversation.delete", app: "_"},
		{name: "the_body_knows_no_user", data: body("user_id", "7"), subject: "conversation.delete"},
		{name: "the_body_knows_the_app", data: body("conversations", "[]"), subject: "conversation.delete", told: "alice"},
		{name: "the_subject_knows_the_app", data: "x", subject: "conversation.delete.sh%2Eop", app: "sh%2Eop"},
		{name: "the_subject_knows_better", data: body("conversations", "[]"), subject: "conversation.delete.shop", app: "shop", told: "alice"},
		{name: "the_subject_is_for_everyone", data: body("scope", `"everyone"`, "keep_history", "true"), subject: "conversation.delete_everyone.demo", told: "alice"},
		{name: "everyone_where_one_user_is", data: body("scope", `"everyone"`), told: "alice", reason: "scope_mismatch"},
		{name: "everyone_from_a_trusted_producer", data: body("scope", `"everyone"`), subject: "conversation.delete", told: "alice", reason: "scope_mismatch"},
		{name: "one_user_where_everyone_is", data: body("scope", `"self"`), subject: "conversation.delete_everyone.demo", told: "alice", reason: "scope_mismatch"},
		{name: "no_scope_where_everyone_is", data: body(), subject: "conversation.delete_everyone.demo", told: "alice", reason: "scope_mismatch"},
		{name: "everyone_of_another_app", data: body("scope", `"everyone"`), subject: "conversation.delete_everyone.shop", app: "shop", told: "alice", reason: "app_mismatch"},
		{name: "a_status_without_a_body", data: "", headers: []string{"Status", "503", "Description", "No Responders"}},
		{name: "a_heartbeat", data: "", headers: []string{"Status", "100", "Description", "Idle Heartbeat"}},
		{name: "the_end_of_a_request", data: "", headers: []string{"Status", "408", "Nats-Pending-Messages", "1"}},
		{name: "a_retry_of_nothing", data: "x", headers: []string{"Lethe-Retry", "18446744073709551616", "Lethe-Stored-At", "once"}},
		{name: "a_large_header", data: "x", headers: []string{"X-Large", strings.Repeat("h", 30_000)}},
		{name: "many_headers", data: "x", headers: strings.Split(strings.Repeat("X-Many,v,", 500)+"X-Last,v", ",")},
		{name: "letters_headers", data: "x", headers: []string{"Lethe-Reason", "forged", "lethe-reason", "forged", "Lethe-Deliveries", "-1"}},
		{name: "events_headers", data: "x", headers: []string{"ce-id", "forged", "content-type", "application/xml", "traceparent", "\x01"}},
	}
}

// A worker is given some hundred broken commands at once. Each ends as a dead
// letter, byte for byte; nothing of it is deleted; and the next one is served.
func TestMalformedCommandsEndAsDeadLettersByteForByte(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	mine := chat{"demo", "alice", "g"}
	r.fill(t, mine, 10)
	all := append(append(append(notOneObject(), unsound()...), broken()...), misled()...)
	bySeq := map[uint64]specimen{}
	for _, s := range all {
		if s.subject == "" {
			s.subject = "conversation.delete.demo"
		}
		s.app, s.reason = cmp.Or(s.app, "demo"), cmp.Or(s.reason, "invalid_command")
		bySeq[r.publish(t, s.subject, []byte(s.data), s.headers...)] = s
	}
	t.Logf("%d malformed commands", len(all))
	r.start(t)
	r.settled(t)
	found := map[string]int{}
	for _, l := range r.letters(t) {
		seq := l.header.Get("Lethe-Stream-Sequence")
		found[seq]++
	}
	for _, l := range r.letters(t) {
		var seq uint64
		_, _ = fmt.Sscan(l.header.Get("Lethe-Stream-Sequence"), &seq) // a wrong one isn't found
		s, known := bySeq[seq]
		switch {
		case !known:
			t.Errorf("a dead letter of command %d, which was never sent", seq)
		case l.header.Get("Lethe-Reason") != s.reason || l.subject != "conversation.dead_letter."+s.app || !bytes.Equal(l.data, []byte(s.data)) || found[fmt.Sprint(seq)] != 1:
			t.Errorf("%s: %d dead letters, on %s, %.200q; want one on %s:\n%.200q; want\n%.200q", s.name, found[fmt.Sprint(seq)], l.subject, l.header, s.app, l.data, s.data)
		}
		r.wantTold(t, s, seq)
		delete(bySeq, seq)
	}
	for seq, s := range bySeq {
		t.Errorf("%s: no dead letter of command %d", s.name, seq)
	}
	if got := r.left(t, mine); got.Messages != 10 || !got.Row {
		t.Errorf("malformed commands have deleted: %+v", got)
	}
	good := mine.ask()
	r.send(t, good)
	r.deleted(t, good.CommandID, "g")
	r.wantLeft(t, mine, nothing)
}

// wantTold asserts that the failure of a command went to whom it should.
func (r *rig) wantTold(t testing.TB, s specimen, seq uint64) {
	t.Helper()
	if s.told == "?" {
		return
	}
	stored, _, _ := r.seen(func(e event) bool {
		for _, command := range []string{"c", "demo", ""} { // what the body says, if it can be read
			if e.id() == conversation.DeleteFailedID(unescape(s.app), command, "", seq) {
				return true
			}
		}
		return false
	})
	switch {
	case s.told == "" && len(stored) > 0:
		t.Errorf("%s: told %s; want nobody told", s.name, stored[0])
	case s.told != "" && len(stored) != 1:
		t.Errorf("%s: %d events; want one", s.name, len(stored))
	case s.told != "":
		wantFields(t, stored[0], "user_id", s.told, "app_id", unescape(s.app), "reason", s.reason, "conversation_id", nil)
	}
}

func unescape(token string) string { return strings.ReplaceAll(token, "%2E", ".") }

func TestTheLargestCommandIsServed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start(t)
	c := chat{"demo", "alice", "g"}
	r.fill(t, c, 10)
	valid := func(id string, size int) []byte {
		text := strings.Replace(body("command_id", fmt.Sprintf("%q", id)), "{", `{"padding":"PAD",`, 1)
		return []byte(strings.Replace(text, "PAD", strings.Repeat("p", size-len(text)+3), 1))
	}
	data := valid("large", 900*1024)
	r.publish(t, "conversation.delete.demo", data, "Nats-Msg-Id", "demo.large")
	wantFields(t, r.deleted(t, "large", "g"), "messages_deleted", 10)

	// The largest that the stream takes, broken: its dead letter has room too.
	most := int(r.nc.MaxPayload()) - 64<<10
	for size := most; ; size-- {
		bad := valid("broken", size)
		bad[len(bad)-1] = ' '
		m := &nats.Msg{Subject: "conversation.delete.demo", Data: bad, Header: nats.Header{"X-Own": {"kept"}}}
		ack, err := r.js.PublishMsg(t.Context(), m, jetstream.WithExpectStream(conversation.CommandsStream))
		if err != nil && size > most-512 {
			continue
		}
		if err != nil {
			t.Fatalf("%d bytes are refused: %v", size, err)
		}
		wantLetter(t, r.letter(t, ack.Sequence), "demo", "invalid_command", "conversation.delete.demo", "", bad)
		break
	}
	m := &nats.Msg{Subject: "conversation.delete.demo", Data: valid("too-large", most+1)}
	if _, err := r.js.PublishMsg(t.Context(), m); err == nil {
		t.Error("a command that could have no dead letter is taken")
	}
	r.settled(t)
}
