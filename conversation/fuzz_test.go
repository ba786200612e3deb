package conversation_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/lethe-im/lethe/conversation"
)

func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		sample, least(""), "", "{}", "[]", "null", `{"a":`, least("") + "x",
		least(`,"App_ID":"x","x":[{"y":"\\\""}]`), least(`,"app\u005fid":"b"`), least(`,"x":"\ud83d\ude00"`),
		least(`,"x":"\ud83d"`), least(`,"device_id":null,"keep_history":true,"requested_at":"2026-11-23t10:00:00.5+01:00"`),
		all(""), all(`,"conversations":[]`), least(`,"scope":"everyone","keep_conversation":true`), least(`,"scope":"\u0073elf","keep_history":true`),
		withTargets(`[{"id":"c","through_seq":1e3}]`), withTargets(`[{"id":"c"},{"id":"c"}]`), withTargets(nTargets(101)),
		withTargets(`[{"id":"c","through_seq":9223372036854775808}]`), least(",\"x\":\"\xff\""), least(",\"user_id\":\"\x7f\""),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := conversation.Decode(data)
		id := conversation.Identify(data)
		if err != nil {
			var invalid *conversation.InvalidError
			if !errors.As(err, &invalid) {
				t.Fatalf("Decode = %v; want an InvalidError", err)
			}
			checkReadable(t, err)
			checkIdentity(t, data, id)
			if !bytes.Contains(data, []byte(`\u`)) && modelAccepts(data) {
				t.Fatalf("Decode(%q) = %v; a naive reader finds nothing wrong", data, err)
			}
			return
		}
		if !modelAccepts(data) {
			t.Fatalf("Decode(%q) = nil; a naive reader refuses it", data)
		}
		want := conversation.Identity{AppID: c.AppID, UserID: c.UserID, CommandID: c.CommandID, DeviceID: c.DeviceID}
		if id != want {
			t.Fatalf("Identify = %+v; want %+v", id, want)
		}
		checkRoundTrip(t, c)
		checkSameAsPlainJSON(t, c, data)
	})
}

func checkRoundTrip(t *testing.T, c conversation.Command) {
	t.Helper()
	if err := c.Validate(); err != nil {
		t.Fatalf("Validate of an accepted command = %v", err)
	}
	c.RequestedAt = c.RequestedAt.UTC()
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatalf("Marshal of an accepted command: %v", err)
	}
	again, err := conversation.Decode(data)
	if err != nil || !reflect.DeepEqual(again, c) {
		t.Fatalf("Decode(%s) = %+v, %v; want %+v", data, again, err, c)
	}
}

// checkSameAsPlainJSON compares with what encoding/json reads under the exact names.
func checkSameAsPlainJSON(t *testing.T, c conversation.Command, data []byte) {
	t.Helper()
	var plain map[string]any
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&plain); err != nil {
		t.Fatalf("encoding/json: %v", err)
	}
	device, _ := plain["device_id"].(string)
	keep, _ := plain["keep_history"].(bool)
	keepRow, _ := plain["keep_conversation"].(bool)
	everything, _ := plain["all_conversations"].(bool)
	scope, _ := plain["scope"].(string)
	if plain["command_id"] != c.CommandID || plain["app_id"] != c.AppID || plain["user_id"] != c.UserID ||
		device != c.DeviceID || keep != c.KeepHistory || keepRow != c.KeepConversation || everything != c.AllConversations || scope != c.Scope {
		t.Fatalf("Decode = %+v; encoding/json read %v", c, plain)
	}
	targets, _ := plain["conversations"].([]any)
	if len(targets) != len(c.Conversations) {
		t.Fatalf("Decode read %d conversations, encoding/json %d", len(c.Conversations), len(targets))
	}
	for i, target := range c.Conversations {
		m := targets[i].(map[string]any)
		var through *int64
		if n, ok := m["through_seq"].(json.Number); ok {
			v, err := n.Int64()
			if err != nil {
				t.Fatal(err)
			}
			through = &v
		}
		if m["id"] != target.ID || !reflect.DeepEqual(through, target.ThroughSeq) {
			t.Fatalf("Decode read conversation %+v, encoding/json %v", target, m)
		}
	}
}

// checkIdentity checks that what is named of a refused command is sound and
// stands in it.
func checkIdentity(t *testing.T, data []byte, id conversation.Identity) {
	t.Helper()
	if id == (conversation.Identity{}) {
		return
	}
	var plain map[string]any
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&plain); err != nil {
		t.Fatalf("Identify = %+v of what is no JSON object: %v", id, err)
	}
	for name, v := range map[string]string{"app_id": id.AppID, "user_id": id.UserID, "command_id": id.CommandID, "device_id": id.DeviceID} {
		if v != "" && (plain[name] != v || !soundModel(v, 128)) {
			t.Fatalf("Identify read %s %q; encoding/json %v", name, v, plain[name])
		}
	}
}

// modelAccepts is the contract's rules once more, slowly and by encoding/json's
// tokens. It is exact for text without \u escapes, and otherwise may accept more.
func modelAccepts(data []byte) bool {
	if !utf8.Valid(data) || !json.Valid(data) {
		return false
	}
	obj, ok := modelObject(data, "command_id", "app_id", "user_id", "device_id", "conversations", "all_conversations", "scope",
		"keep_history", "keep_conversation", "requested_at")
	if !ok {
		return false
	}
	var keep, keepRow, everything bool
	var at, scope *string
	for name, v := range map[string]any{
		"keep_history": &keep, "keep_conversation": &keepRow, "all_conversations": &everything, "scope": &scope, "requested_at": &at,
	} {
		if json.Unmarshal(orNull(obj[name]), v) != nil {
			return false
		}
	}
	everyone := scope != nil && *scope == "everyone"
	if scope != nil && *scope != "self" && !everyone || everyone && (everything || keep) || keep && keepRow {
		return false
	}
	if at != nil {
		_, err := time.Parse(time.RFC3339, strings.ToUpper(*at))
		if err != nil && !strings.Contains(*at, ":60") {
			return false
		}
	}
	return modelID(obj["command_id"], 128) && modelID(obj["app_id"], 64) && modelID(obj["user_id"], 128) &&
		(modelEmpty(obj["device_id"]) || modelID(obj["device_id"], 128)) && modelTargets(obj["conversations"], everything) &&
		(at == nil || modelStrict(*at))
}

// modelStrict leaves to Decode the few times on which time.Parse is lenient.
func modelStrict(at string) bool {
	t, err := time.Parse(time.RFC3339, strings.ToUpper(at))
	if err != nil {
		return true
	}
	return !strings.Contains(at, ",") && !(len(at) > 12 && at[12] == ':') && t.UTC().Year() >= 0 && t.UTC().Year() <= 9999 &&
		!strings.Contains(at, "+24") && !strings.Contains(at, "-24:") && !strings.HasSuffix(at, ":60") && len(at) < 190
}

func modelTargets(raw json.RawMessage, everything bool) bool {
	if everything {
		return string(orNull(raw)) == "null"
	}
	var list []json.RawMessage
	if json.Unmarshal(orNull(raw), &list) != nil || len(list) < 1 || len(list) > 100 {
		return false
	}
	ids := map[string]bool{}
	for _, el := range list {
		obj, ok := modelObject(el, "id", "through_seq")
		if !ok || !modelID(obj["id"], 256) {
			return false
		}
		var s string
		_ = json.Unmarshal(obj["id"], &s)
		var n *int64
		if ids[s] || json.Unmarshal(orNull(obj["through_seq"]), &n) != nil || n != nil && *n < 0 ||
			strings.HasPrefix(string(obj["through_seq"]), "-") {
			return false
		}
		ids[s] = true
	}
	return true
}

// modelObject reads an object and refuses a known name that stands twice.
func modelObject(data []byte, known ...string) (map[string]json.RawMessage, bool) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return nil, false
	}
	obj := map[string]json.RawMessage{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, false
		}
		name := tok.(string)
		if _, twice := obj[name]; twice && slices.Contains(known, name) {
			return nil, false
		}
		var v json.RawMessage
		if dec.Decode(&v) != nil {
			return nil, false
		}
		obj[name] = v
	}
	return obj, true
}

func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}

func modelEmpty(raw json.RawMessage) bool {
	return raw == nil || string(raw) == "null" || string(raw) == `""`
}

func modelID(raw json.RawMessage, most int) bool {
	var s *string
	return json.Unmarshal(orNull(raw), &s) == nil && s != nil && soundModel(*s, most)
}

func soundModel(s string, most int) bool {
	return len(s) >= 1 && len(s) <= most && utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

func FuzzEscapeToken(f *testing.F) {
	for _, s := range []string{"", "demo", "a.b", "*", ">", "%2E", "é", "\x00", "\xff\xfe", "😀 x", "_-", "%", "%zz"} {
		f.Add(s, s+"x")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		tok := conversation.EscapeToken(a)
		if strings.Trim(tok, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-%") != "" {
			t.Fatalf("EscapeToken(%q) = %q; has other characters", a, tok)
		}
		if (a == b) != (tok == conversation.EscapeToken(b)) {
			t.Fatalf("EscapeToken(%q) and EscapeToken(%q) = %q", a, b, tok)
		}
		if a == "" {
			return
		}
		if back, err := conversation.UnescapeToken(tok); err != nil || back != a {
			t.Fatalf("UnescapeToken(%q) = %q, %v; want %q", tok, back, err, a)
		}
		if s, err := conversation.UnescapeToken(a); err == nil && conversation.EscapeToken(s) != a {
			t.Fatalf("UnescapeToken(%q) = %q, which is written %q", a, s, conversation.EscapeToken(s))
		}
		if app, named := conversation.SubjectApp(conversation.CommandSubject(a)); app != a || !named {
			t.Fatalf("SubjectApp(CommandSubject(%q)) = %q, %v", a, app, named)
		}
		if conversation.SubjectFits("conversation.delete."+b, a) != (b == tok) {
			t.Fatalf("SubjectFits(%q, %q) is wrong", b, a)
		}
	})
}
