package api_test

import (
	"strings"
	"testing"

	"github.com/lethe-im/lethe/conversation"
)

func with(more string) string {
	return `{"command_id":"1","app_id":"a","user_id":"u","conversations":[{"id":"c"}]` + more + `}`
}

func all(more string) string {
	return `{"command_id":"1","app_id":"a","user_id":"u","all_conversations":true` + more + `}`
}

func of(targets string) string {
	return `{"command_id":"1","app_id":"a","user_id":"u","conversations":` + targets + `}`
}

// TestCommandSchemaAgreesWithDecode runs one table through both readers.
func TestCommandSchemaAgreesWithDecode(t *testing.T) {
	t.Parallel()
	schema := compile(t, "command.schema.json")
	const good, bad = true, false
	for data, want := range map[string]bool{
		with(""):                  good,
		with(`,"x":1,"App_ID":2`): good,
		with(`,"device_id":null,"keep_history":null,"requested_at":null`): good,
		with(`,"device_id":""`):                                 good,
		with(`,"device_id":"` + strings.Repeat("d", 128) + `"`): good,
		with(`,"device_id":"` + strings.Repeat("d", 129) + `"`): bad,
		with(`,"device_id":1`):                                  bad,
		with(`,"device_id":"\u007f"`):                           bad,
		with(`,"keep_history":true`):                            good,
		with(`,"keep_history":"true"`):                          bad,
		with(`,"keep_history":0`):                               bad,
		with(`,"requested_at":"2026-11-23T09:00:00Z"`):          good,
		with(`,"requested_at":"2026-11-23T09:00:00.5+01:00"`):   good,
		with(`,"requested_at":"2026-11-23"`):                    bad,
		with(`,"requested_at":"soon"`):                          bad,
		with(`,"requested_at":1764000000`):                      bad,
		`{}`:                                                    bad,
		`[]`:                                                    bad,
		`null`:                                                  bad,
		`"x"`:                                                   bad,
		of(`null`):                                              bad,
		of(`[]`):                                                bad,
		of(`{}`):                                                bad,
		of(`[null]`):                                            bad,
		of(`["c"]`):                                             bad,
		of(`[{}]`):                                              bad,
		of(`[{"id":null}]`):                                     bad,
		of(`[{"id":""}]`):                                       bad,
		of(`[{"id":7}]`):                                        bad,
		of(`[{"id":"a\u0000"}]`):                                bad,
		of(`[{"id":"a\u001f"}]`):                                bad,
		of(`[{"id":"a\n"}]`):                                    bad,
		of(`[{"id":"\u0085"}]`):                                 bad,
		of(`[{"id":"\u009f"}]`):                                 bad,
		of(`[{"id":"\u00a0 *.>"}]`):                             good,
		of(`[{"id":"😀","ID":"x"}]`):                             good,
		of(`[{"id":"` + strings.Repeat("x", 256) + `"}]`):                             good,
		of(`[{"id":"` + strings.Repeat("x", 257) + `"}]`):                             bad,
		of(`[{"id":"c"},{"id":"c"}]`):                                                 bad,
		of(`[{"id":"c"},{"id":"C"}]`):                                                 good,
		of(`[{"id":"c","through_seq":null}]`):                                         good,
		of(`[{"id":"c","through_seq":0}]`):                                            good,
		of(`[{"id":"c","through_seq":9223372036854775807}]`):                          good,
		of(`[{"id":"c","through_seq":9223372036854775808}]`):                          bad,
		of(`[{"id":"c","through_seq":-1}]`):                                           bad,
		of(`[{"id":"c","through_seq":1.5}]`):                                          bad,
		of(`[{"id":"c","through_seq":"5"}]`):                                          bad,
		of(`[{"id":"c","through_seq":true}]`):                                         bad,
		of("[" + strings.TrimSuffix(strings.Repeat(`{"id":"c"},`, 101), ",") + "]"):   bad,
		`{"app_id":"a","user_id":"u","conversations":[{"id":"c"}]}`:                   bad,
		`{"command_id":"1","user_id":"u","conversations":[{"id":"c"}]}`:               bad,
		`{"command_id":"1","app_id":"a","conversations":[{"id":"c"}]}`:                bad,
		`{"command_id":"1","app_id":"a","user_id":"u"}`:                               bad,
		`{"command_id":null,"app_id":"a","user_id":"u","conversations":[{"id":"c"}]}`: bad,
		strings.Replace(with(""), `"a"`, `"`+strings.Repeat("a", 64)+`"`, 1):          good,
		strings.Replace(with(""), `"a"`, `"`+strings.Repeat("a", 65)+`"`, 1):          bad,
		strings.Replace(with(""), `"u"`, `"`+strings.Repeat("u", 129)+`"`, 1):         bad,
		strings.Replace(with(""), `"1"`, `"`+strings.Repeat("1", 129)+`"`, 1):         bad,
		with(`,"scope":"self"`):                                                       good,
		with(`,"scope":"everyone"`):                                                   good,
		with(`,"scope":null`):                                                         good,
		with(`,"scope":""`):                                                           bad,
		with(`,"scope":"Everyone"`):                                                   bad,
		with(`,"scope":true`):                                                         bad,
		with(`,"scope":"everyone","keep_history":false,"keep_conversation":true`):     good,
		with(`,"scope":"everyone","keep_history":true`):                               bad,
		with(`,"keep_conversation":true`):                                             good,
		with(`,"keep_conversation":1`):                                                bad,
		with(`,"keep_conversation":true,"keep_history":true`):                         bad,
		with(`,"keep_conversation":false,"keep_history":true`):                        good,
		with(`,"all_conversations":false`):                                            good,
		with(`,"all_conversations":true`):                                             bad,
		with(`,"all_conversations":"true"`):                                           bad,
		all(``):                                                                       good,
		all(`,"conversations":null`):                                                  good,
		all(`,"conversations":[]`):                                                    bad,
		all(`,"scope":"self"`):                                                        good,
		all(`,"scope":"everyone"`):                                                    bad,
		all(`,"keep_history":true`):                                                   good,
		all(`,"keep_conversation":true`):                                              good,
		strings.Replace(all(``), "true", "false", 1):                                  bad,
		strings.ToUpper(with("")):                                                     bad,
	} {
		if err := schema.Validate(plain(t, []byte(data))); (err == nil) != want {
			t.Errorf("the schema says %v of %.200s; want accepted: %v", err, data, want)
		}
		if _, err := conversation.Decode([]byte(data)); (err == nil) != want {
			t.Errorf("Decode says %v of %.200s; want accepted: %v", err, data, want)
		}
	}
}

// TestDecodeIsStricterThanTheSchema holds what README.md lists as beyond a schema.
func TestDecodeIsStricterThanTheSchema(t *testing.T) {
	t.Parallel()
	schema := compile(t, "command.schema.json")
	for name, data := range map[string]string{
		"bytes, not characters":         strings.Replace(with(""), `"a"`, `"`+strings.Repeat("é", 33)+`"`, 1),
		"a whole fraction":              of(`[{"id":"c","through_seq":1.0}]`),
		"an exponent":                   of(`[{"id":"c","through_seq":1e3}]`),
		"minus zero":                    of(`[{"id":"c","through_seq":-0}]`),
		"one conversation, two targets": of(`[{"id":"c"},{"id":"c","through_seq":1}]`),
		"a time that UTC can't write":   with(`,"requested_at":"9999-12-31T23:59:59-01:00"`),
		"half of a surrogate pair":      with(`,"x":"\ud800"`),
	} {
		if err := schema.Validate(plain(t, []byte(data))); err != nil {
			t.Errorf("%s: the schema refuses %s: %v", name, data, err)
		}
		if _, err := conversation.Decode([]byte(data)); err == nil {
			t.Errorf("%s: Decode accepts %s", name, data)
		}
	}
}
