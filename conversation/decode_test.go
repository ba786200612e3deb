package conversation_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/lethe-im/lethe/conversation"
)

const sample = `{
  "command_id": "01JD8Z7K4W3V9Q2M5N6P7R8S9T",
  "app_id": "demo",
  "user_id": "alice",
  "device_id": "alice-phone",
  "conversations": [{"id": "c2c_bob"}, {"id": "group_42", "through_seq": 1200}],
  "keep_history": false,
  "requested_at": "2026-11-23T09:00:00Z"
}`

// least is the shortest command, with a place for more.
func least(more string) string {
	return `{"command_id":"1","app_id":"a","user_id":"u","conversations":[{"id":"c"}]` + more + `}`
}

// all is the shortest command for all conversations, with a place for more.
func all(more string) string {
	return `{"command_id":"1","app_id":"a","user_id":"u","all_conversations":true` + more + `}`
}

// withTargets is a command with these conversations.
func withTargets(targets string) string {
	return `{"command_id":"1","app_id":"a","user_id":"u","conversations":` + targets + `}`
}

func seq(n int64) *int64 { return &n }

func TestDecodeReadsEveryField(t *testing.T) {
	t.Parallel()
	got, err := conversation.Decode([]byte(sample))
	want := conversation.Command{
		CommandID: "01JD8Z7K4W3V9Q2M5N6P7R8S9T", AppID: "demo", UserID: "alice", DeviceID: "alice-phone",
		Conversations: []conversation.Target{{ID: "c2c_bob"}, {ID: "group_42", ThroughSeq: seq(1200)}},
		RequestedAt:   time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC),
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("Decode = %+v, %v; want %+v", got, err, want)
	}
}

func TestDecodeReadsTheOtherForms(t *testing.T) {
	t.Parallel()
	base := conversation.Command{CommandID: "1", AppID: "a", UserID: "u", Conversations: []conversation.Target{{ID: "c"}}}
	for data, change := range map[string]func(*conversation.Command){
		least(`,"scope":"self","all_conversations":false,"keep_conversation":false`): func(c *conversation.Command) { c.Scope = "self" },
		least(`,"scope":null,"all_conversations":null,"keep_conversation":null`):     func(*conversation.Command) {},
		least(`,"scope":"\u0065veryone","keep_conversation":true`): func(c *conversation.Command) {
			c.Scope, c.KeepConversation = conversation.ScopeEveryone, true
		},
		all(`,"conversations":null,"keep_history":true`): func(c *conversation.Command) { c.Conversations, c.AllConversations, c.KeepHistory = nil, true, true },
		all(`,"keep_conversation":true,"scope":"self"`): func(c *conversation.Command) {
			c.Conversations, c.AllConversations, c.KeepConversation, c.Scope = nil, true, true, conversation.ScopeSelf
		},
	} {
		want := base
		change(&want)
		got, err := conversation.Decode([]byte(data))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("Decode(%s) = %+v, %v; want %+v", data, got, err, want)
			continue
		}
		checkRoundTrip(t, got)
	}
}

func TestDecodeAccepts(t *testing.T) {
	t.Parallel()
	for name, data := range map[string]string{
		"the least":                            least(""),
		"white space around":                   " \t\r\n" + least("") + "\n ",
		"unknown fields":                       least(`,"x":1,"y":{"app_id":"b","app_id":"c"},"z":[[]]`),
		"an unknown field twice":               least(`,"x":1,"x":2`),
		"names in other case as unknown":       least(`,"App_ID":"b","USER_ID":7,"Keep_History":"?"`),
		"names with other code points":         least(`,"u\u0073er_i\u0064\u200b":1,"uſer_id":1`),
		"null for what is optional":            least(`,"device_id":null,"keep_history":null,"requested_at":null`),
		"an empty device for none":             least(`,"device_id":""`),
		"escaped names":                        `{"command\u005fid":"1","\u0061pp_id":"a","user_id":"u","conversations":[{"\u0069d":"c"}]}`,
		"100 conversations":                    withTargets(nTargets(100)),
		"through_seq 0":                        withTargets(`[{"id":"c","through_seq":0}]`),
		"through_seq 2^63-1":                   withTargets(`[{"id":"c","through_seq":9223372036854775807}]`),
		"through_seq null":                     withTargets(`[{"id":"c","through_seq":null}]`),
		"unknown fields in a conversation":     withTargets(`[{"id":"c","ID":"d","Through_Seq":-1,"x":{},"x":[]}]`),
		"an id of 256 bytes":                   withTargets(`[{"id":"` + strings.Repeat("é", 128) + `"}]`),
		"an id of 256 escaped bytes":           withTargets(`[{"id":"` + strings.Repeat(`\u0061`, 256) + `"}]`),
		"ids that look alike but differ":       withTargets(`[{"id":"c"},{"id":"C"},{"id":" c"},{"id":"с"}]`),
		"a surrogate pair":                     withTargets(`[{"id":"\ud83d\ude00"}]`),
		"U+FFFD itself":                        withTargets(`[{"id":"�"},{"id":"x\ufffd"}]`),
		"hostile but legal ids":                withTargets(`[{"id":"*"},{"id":">"},{"id":"a.b"},{"id":"'; drop table x; --"},{"id":"\u202eabc"},{"id":"%00"}]`),
		"a time with an offset":                least(`,"requested_at":"2026-11-23T10:00:00.5+01:00"`),
		"a time in lower case":                 least(`,"requested_at":"2026-11-23t10:00:00z"`),
		"a leap second":                        least(`,"requested_at":"2016-12-31T23:59:60Z"`),
		"a leap second elsewhere":              least(`,"requested_at":"2017-01-01T00:59:60.25+01:00"`),
		"deep nesting in an unknown field":     least(`,"x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000)),
		"escapes in an unknown string":         least(`,"x":"\"}\\","y":["\\\"",{"]":"}"}]`),
		"a backslash before what looks like u": least(`,"x":"\\ud800"`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := conversation.Decode([]byte(data)); err != nil {
				t.Errorf("Decode(%.200s) = %v; want nil", data, err)
			}
		})
	}
}

func nTargets(n int) string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf(`{"id":"c%d"}`, i)
	}
	return "[" + strings.Join(ids, ",") + "]"
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ data, field, problem string }{
		"nothing":                       {"", "command", "is empty"},
		"white space":                   {" \n", "command", "is empty"},
		"null":                          {"null", "command", "is null"},
		"an array":                      {"[" + least("") + "]", "command", "is an array"},
		"a string":                      {`"{}"`, "command", "is a string"},
		"a number":                      {"1", "command", "is a number"},
		"a truncated object":            {least("")[:40], "command", "is not valid JSON at byte 40"},
		"a trailing comma":              {least(","), "command", "is not valid JSON"},
		"trailing data":                 {least("") + "x", "command", "is not valid JSON"},
		"a second object":               {least("") + least(""), "command", "is not valid JSON"},
		"a byte order mark":             {"\ufeff" + least(""), "command", "is not valid JSON"},
		"single quotes":                 {`{'app_id':'a'}`, "command", "is not valid JSON"},
		"a raw control character":       {least(",\"x\":\"\x01\""), "command", "is not valid JSON"},
		"bottomless nesting":            {strings.Repeat(`{"x":[`, 200_000), "command", "is not valid JSON"},
		"invalid UTF-8 in an id":        {strings.Replace(least(""), `"u"`, "\"\xff\"", 1), "command", "has invalid UTF-8 at byte 42"},
		"invalid UTF-8 elsewhere":       {least(",\"x\":\"\xc0\xaf\""), "command", "has invalid UTF-8"},
		"an encoded surrogate":          {least(",\"x\":\"\xed\xa0\x80\""), "command", "has invalid UTF-8"},
		"a lone high surrogate":         {least(`,"x":"\ud800"`), "command", "has half of a surrogate pair"},
		"a lone low surrogate":          {least(`,"x":"\udc00\ud800"`), "command", "has half of a surrogate pair"},
		"a high surrogate and a letter": {withTargets(`[{"id":"\ud83dx"}]`), "command", "has half of a surrogate pair"},
		"two high surrogates":           {withTargets(`[{"id":"\ud83d\ud83d"}]`), "command", "has half of a surrogate pair"},
		"a high one and an escape":      {withTargets(`[{"id":"\ud83d\n0000"}]`), "command", "has half of a surrogate pair"},
		"a lone surrogate in a name":    {least(`,"\udfff":1`), "command", "has half of a surrogate pair"},
		"no command_id":                 {`{"app_id":"a","user_id":"u","conversations":[{"id":"c"}]}`, "command_id", "is missing or empty"},
		"no app_id":                     {`{"command_id":"1","user_id":"u","conversations":[{"id":"c"}]}`, "app_id", "is missing or empty"},
		"no user_id":                    {`{"command_id":"1","app_id":"a","conversations":[{"id":"c"}]}`, "user_id", "is missing or empty"},
		"no conversations":              {`{"command_id":"1","app_id":"a","user_id":"u"}`, "conversations", "is missing or empty"},
		"an empty object":               {`{}`, "command_id", "is missing or empty"},
		"names in another case":         {strings.ToUpper(least("")), "command_id", "is missing or empty"},
		"an empty id":                   {strings.Replace(least(""), `"u"`, `""`, 1), "user_id", "is missing or empty"},
		"null for what is required":     {strings.Replace(least(""), `"u"`, `null`, 1), "user_id", "is missing or empty"},
		"a number for an id":            {strings.Replace(least(""), `"u"`, `7`, 1), "user_id", "is a number"},
		"an object for an id":           {strings.Replace(least(""), `"u"`, `{}`, 1), "user_id", "is an object"},
		"app_id of 65 bytes":            {strings.Replace(least(""), `"a"`, `"`+strings.Repeat("a", 65)+`"`, 1), "app_id", "is 65 bytes long"},
		"user_id of 129 bytes":          {strings.Replace(least(""), `"u"`, `"`+strings.Repeat("u", 129)+`"`, 1), "user_id", "is 129 bytes long"},
		"command_id of 129 bytes":       {strings.Replace(least(""), `"1"`, `"`+strings.Repeat("1", 129)+`"`, 1), "command_id", "is 129 bytes long"},
		"device_id of 129 bytes":        {least(`,"device_id":"` + strings.Repeat("d", 129) + `"`), "device_id", "is 129 bytes long"},
		"an id of 900 KB":               {withTargets(`[{"id":"` + strings.Repeat("x", 900<<10) + `"}]`), "conversations[0].id", "is too long"},
		"a conversation of 257 bytes":   {withTargets(`[{"id":"` + strings.Repeat("é", 128) + `x"}]`), "conversations[0].id", "is 257 bytes long"},
		"NUL in an id":                  {strings.Replace(least(""), `"u"`, `"a\u0000"`, 1), "user_id", "has the control character U+0000 at byte 1"},
		"a line feed in an id":          {strings.Replace(least(""), `"u"`, `"\n"`, 1), "user_id", "has the control character U+000A"},
		"DEL in an id":                  {strings.Replace(least(""), `"u"`, "\"\x7f\"", 1), "user_id", "has the control character U+007F"},
		"a C1 character in an id":       {strings.Replace(least(""), `"u"`, `"\u0085"`, 1), "user_id", "has the control character U+0085"},
		"a control in the device":       {least(`,"device_id":"\t"`), "device_id", "has the control character U+0009"},
		"a known name twice":            {least(`,"app_id":"a"`), "app_id", "stands twice"},
		"a known name twice, escaped":   {least(`,"app\u005fid":"b"`), "app_id", "stands twice"},
		"a known name twice with null":  {least(`,"user_id":null`), "user_id", "stands twice"},
		"an optional name twice":        {least(`,"device_id":null,"device_id":"d"`), "device_id", "stands twice"},
		"conversations twice":           {least(`,"conversations":[{"id":"c"}]`), "conversations", "stands twice"},
		"an unknown scope":              {least(`,"scope":"others"`), "scope", "is unknown"},
		"a scope in another case":       {least(`,"scope":"Everyone"`), "scope", "is unknown"},
		"an empty scope":                {least(`,"scope":""`), "scope", "is unknown"},
		"a scope of a wrong type":       {least(`,"scope":["everyone"]`), "scope", "is an array"},
		"the scope twice":               {least(`,"scope":"self","scop\u0065":"everyone"`), "scope", "stands twice"},
		"all of a wrong type":           {all(`,"x":1`)[:len(all(""))-5] + `"true"}`, "all_conversations", "is a string"},
		"all twice":                     {all(`,"all_conversations":false`), "all_conversations", "stands twice"},
		"all and conversations":         {least(`,"all_conversations":true`), "all_conversations", "stands beside conversations"},
		"all and no conversations":      {all(`,"conversations":[]`), "conversations", "is missing or empty"},
		"all for everyone":              {all(`,"scope":"everyone"`), "all_conversations", `stands beside the scope "everyone"`},
		"not all and no conversations":  {strings.Replace(all(""), "true", "false", 1), "conversations", "is missing or empty"},
		"the row alone for everyone":    {least(`,"scope":"everyone","keep_history":true`), "keep_history", `stands beside the scope "everyone"`},
		"neither row nor history":       {least(`,"keep_history":true,"keep_conversation":true`), "keep_history", "stands beside keep_conversation"},
		"keep_conversation as a number": {least(`,"keep_conversation":1`), "keep_conversation", "is a number"},
		"keep_conversation twice":       {least(`,"keep_conversation":true,"keep_conversation":true`), "keep_conversation", "stands twice"},
		"an object for conversations":   {withTargets(`{"id":"c"}`), "conversations", "is an object"},
		"null conversations":            {withTargets(`null`), "conversations", "is missing or empty"},
		"empty conversations":           {withTargets(`[]`), "conversations", "is missing or empty"},
		"101 conversations":             {withTargets(nTargets(101)), "conversations", "has more than 100 elements"},
		"a string as a conversation":    {withTargets(`["c"]`), "conversations[0]", "is a string"},
		"null as a conversation":        {withTargets(`[{"id":"c"},null]`), "conversations[1]", "is null"},
		"a conversation without an id":  {withTargets(`[{"id":"c"},{}]`), "conversations[1].id", "is missing or empty"},
		"a conversation with id null":   {withTargets(`[{"id":null}]`), "conversations[0].id", "is missing or empty"},
		"a conversation's id twice":     {withTargets(`[{"id":"c","id":"c"}]`), "conversations[0].id", "stands twice"},
		"a through_seq twice":           {withTargets(`[{"id":"c","through_seq":1,"through\u005fseq":1}]`), "conversations[0].through_seq", "stands twice"},
		"the same conversation twice":   {withTargets(`[{"id":"c"},{"id":"d"},{"id":"\u0063","through_seq":1}]`), "conversations[2].id", "is the same as conversations[0].id"},
		"a negative through_seq":        {withTargets(`[{"id":"c","through_seq":-1}]`), "conversations[0].through_seq", "is negative"},
		"minus zero":                    {withTargets(`[{"id":"c","through_seq":-0}]`), "conversations[0].through_seq", "is negative"},
		"a fraction":                    {withTargets(`[{"id":"c","through_seq":1.5}]`), "conversations[0].through_seq", "a fraction"},
		"a whole fraction":              {withTargets(`[{"id":"c","through_seq":1.0}]`), "conversations[0].through_seq", "a fraction"},
		"an exponent":                   {withTargets(`[{"id":"c","through_seq":1e3}]`), "conversations[0].through_seq", "exponent"},
		"through_seq 2^63":              {withTargets(`[{"id":"c","through_seq":9223372036854775808}]`), "conversations[0].through_seq", "is too large"},
		"a through_seq of many digits":  {withTargets(`[{"id":"c","through_seq":` + strings.Repeat("9", 1000) + `}]`), "conversations[0].through_seq", "is too large"},
		"a through_seq in quotes":       {withTargets(`[{"id":"c","through_seq":"5"}]`), "conversations[0].through_seq", "is a string"},
		"a boolean through_seq":         {withTargets(`[{"id":"c","through_seq":true}]`), "conversations[0].through_seq", "is a boolean"},
		"keep_history as a string":      {least(`,"keep_history":"true"`), "keep_history", "is a string"},
		"keep_history as a number":      {least(`,"keep_history":1`), "keep_history", "is a number"},
		"a time as a number":            {least(`,"requested_at":1764000000`), "requested_at", "is a number"},
		"an empty time":                 {least(`,"requested_at":""`), "requested_at", "is not RFC 3339"},
		"a date alone":                  {least(`,"requested_at":"2026-11-23"`), "requested_at", "is not RFC 3339"},
		"a time without a zone":         {least(`,"requested_at":"2026-11-23T09:00:00"`), "requested_at", "is not RFC 3339"},
		"a time with a space":           {least(`,"requested_at":"2026-11-23 09:00:00Z"`), "requested_at", "is not RFC 3339"},
		"a time with a comma":           {least(`,"requested_at":"2026-11-23T09:00:00,5Z"`), "requested_at", "is not RFC 3339"},
		"a one-digit hour":              {least(`,"requested_at":"2026-11-23T9:00:00Z"`), "requested_at", "is not RFC 3339"},
		"30 February":                   {least(`,"requested_at":"2026-02-30T09:00:00Z"`), "requested_at", "is not RFC 3339"},
		"hour 24":                       {least(`,"requested_at":"2026-02-20T24:00:00Z"`), "requested_at", "is not RFC 3339"},
		"an offset of 24 hours":         {least(`,"requested_at":"2026-02-20T09:00:00+24:00"`), "requested_at", "is not RFC 3339"},
		"a leap second at noon":         {least(`,"requested_at":"2016-12-31T12:00:60Z"`), "requested_at", "is not RFC 3339"},
		"second 61":                     {least(`,"requested_at":"2016-12-31T23:59:61Z"`), "requested_at", "is not RFC 3339"},
		"a year that UTC can't write":   {least(`,"requested_at":"9999-12-31T23:59:59-01:00"`), "requested_at", "is in the year 10000"},
		"a year before 0 in UTC":        {least(`,"requested_at":"0000-01-01T00:00:00+01:00"`), "requested_at", "is in the year -1"},
		"a long time":                   {least(`,"requested_at":"` + strings.Repeat("2", 5000) + `"`), "requested_at", "is not RFC 3339"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := conversation.Decode([]byte(row.data))
			var invalid *conversation.InvalidError
			if !errors.As(err, &invalid) {
				t.Fatalf("Decode(%.200s) = %v; want an InvalidError", row.data, err)
			}
			if invalid.Field != row.field || !strings.Contains(invalid.Problem, row.problem) || invalid.Expected == "" {
				t.Errorf("Decode(%.200s) = %+v; want field %q, problem %q", row.data, invalid, row.field, row.problem)
			}
			checkReadable(t, err)
		})
	}
}

// checkReadable fails unless err is one short printable line.
func checkReadable(t *testing.T, err error) {
	t.Helper()
	s := err.Error()
	if len(s) > 300 || !utf8.ValidString(s) || strings.IndexFunc(s, unicode.IsControl) >= 0 {
		t.Errorf("error is %d bytes: %.400q; want one short printable line", len(s), s)
	}
}

func TestDecodeKeepsTheInstantOfATime(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Time{
		"2026-11-23T10:00:00.123456789+01:00": time.Date(2026, 11, 23, 9, 0, 0, 123456789, time.UTC),
		"2026-11-23t09:00:00z":                time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC),
		"2016-12-31T23:59:60.7Z":              time.Date(2017, 1, 1, 0, 0, 0, 0, time.UTC),
		"2017-01-01T00:59:60+01:00":           time.Date(2017, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		got, err := conversation.Decode([]byte(least(`,"requested_at":"` + text + `"`)))
		if err != nil || !got.RequestedAt.Equal(want) {
			t.Errorf("Decode(%s) = %v, %v; want %v", text, got.RequestedAt, err, want)
		}
	}
}

func TestDecodeSharesNoMemoryWithItsInput(t *testing.T) {
	t.Parallel()
	data := []byte(sample)
	got, err := conversation.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	clear(data)
	if got.AppID != "demo" || got.Conversations[1].ID != "group_42" {
		t.Errorf("after the input was overwritten: %+v", got)
	}
}

func TestValidateAgreesWithDecode(t *testing.T) {
	t.Parallel()
	good := func() conversation.Command {
		c, err := conversation.Decode([]byte(sample))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for name, row := range map[string]struct {
		change func(*conversation.Command)
		field  string
	}{
		"nothing wrong":         {func(*conversation.Command) {}, ""},
		"bad UTF-8":             {func(c *conversation.Command) { c.UserID = "\xff" }, "user_id"},
		"long app":              {func(c *conversation.Command) { c.AppID = strings.Repeat("a", 65) }, "app_id"},
		"no command id":         {func(c *conversation.Command) { c.CommandID = "" }, "command_id"},
		"control in device":     {func(c *conversation.Command) { c.DeviceID = "\x00" }, "device_id"},
		"no conversations":      {func(c *conversation.Command) { c.Conversations = nil }, "conversations"},
		"too many":              {func(c *conversation.Command) { c.Conversations = make([]conversation.Target, 101) }, "conversations"},
		"negative seq":          {func(c *conversation.Command) { c.Conversations[1].ThroughSeq = seq(-1) }, "conversations[1].through_seq"},
		"the same twice":        {func(c *conversation.Command) { c.Conversations[1].ID = "c2c_bob" }, "conversations[1].id"},
		"a year of 5 digits":    {func(c *conversation.Command) { c.RequestedAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, "requested_at"},
		"bad conversation id":   {func(c *conversation.Command) { c.Conversations[0].ID = "\xc3" }, "conversations[0].id"},
		"empty conversation":    {func(c *conversation.Command) { c.Conversations[0].ID = "" }, "conversations[0].id"},
		"through_seq at 2^63-1": {func(c *conversation.Command) { c.Conversations[0].ThroughSeq = seq(1<<63 - 1) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := good()
			row.change(&c)
			err := c.Validate()
			var invalid *conversation.InvalidError
			if row.field == "" && err != nil {
				t.Fatalf("Validate = %v; want nil", err)
			}
			if row.field != "" && (!errors.As(err, &invalid) || invalid.Field != row.field) {
				t.Fatalf("Validate = %v; want an InvalidError of %s", err, row.field)
			}
		})
	}
}

func TestCommandSurvivesARoundTrip(t *testing.T) {
	t.Parallel()
	want := conversation.Command{
		CommandID: "x", AppID: "a<&>", UserID: "\u2028 😀", KeepHistory: true,
		Conversations: []conversation.Target{{ID: `"\`, ThroughSeq: seq(0)}, {ID: "*.>"}},
		RequestedAt:   time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
	}
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := conversation.Decode(data)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Decode(%s) = %+v, %v; want %+v", data, got, err, want)
	}
}

func BenchmarkDecode(b *testing.B) {
	small := []byte(least(`,"device_id":"alice-phone","requested_at":"2026-11-23T09:00:00Z"`))
	for name, data := range map[string][]byte{
		"small": small, "sample": []byte(sample), "100 conversations": []byte(withTargets(nTargets(100))),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, err := conversation.Decode(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
