package plan

import (
	"strings"
	"testing"

	"github.com/lethe-im/lethe/internal/purge"
)

// thread is the conversation of the social tables, as Postgres writes it.
const thread = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"

func TestConditionFits(t *testing.T) {
	t.Parallel()
	const big, uuid = "9223372036854775807", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
	cases := []struct {
		column condition
		id     string
		fits   bool
	}{
		{condition{typ: textKey}, strings.Repeat("é", 1000), true},
		{condition{typ: textKey, max: 3}, "日本語", true},
		{condition{typ: textKey, max: 3}, "four", false},
		{condition{typ: bigintKey}, big, true},
		{condition{typ: bigintKey}, "-9223372036854775808", true},
		{condition{typ: bigintKey}, "9223372036854775808", false},
		{condition{typ: bigintKey}, "0", true},
		{condition{typ: bigintKey}, "-0", false},
		{condition{typ: bigintKey}, "+7", false},
		{condition{typ: bigintKey}, "007", false},
		{condition{typ: bigintKey}, " 7", false},
		{condition{typ: bigintKey}, "7 ", false},
		{condition{typ: bigintKey}, "7e1", false},
		{condition{typ: bigintKey}, "1_000", false},
		{condition{typ: bigintKey}, "0x7", false},
		{condition{typ: bigintKey}, "٧", false},
		{condition{typ: bigintKey}, "", false},
		{condition{typ: intKey}, "2147483647", true},
		{condition{typ: intKey}, "2147483648", false},
		{condition{typ: uuidKey}, uuid, true},
		{condition{typ: uuidKey}, strings.ToUpper(uuid), true},
		{condition{typ: uuidKey}, "{" + uuid + "}", false},
		{condition{typ: uuidKey}, strings.ReplaceAll(uuid, "-", ""), false},
		{condition{typ: uuidKey}, uuid + "\n", false},
		{condition{typ: uuidKey}, "alice", false},
		{condition{typ: uuidTextKey, max: 36}, strings.ToUpper(uuid), true},
		{condition{typ: uuidTextKey}, "alice", false},
	}
	for _, c := range cases {
		c.column.value.id, c.column.column = "user_id", `"owner"`
		err := c.column.fits(c.id)
		if (err == nil) != c.fits {
			t.Errorf("%s of at most %d: fits(%q) = %v; want it to fit: %t", c.column.typ, c.column.max, c.id, err, c.fits)
		}
		if err != nil && (!strings.Contains(err.Error(), "user_id") || !strings.Contains(err.Error(), `"owner"`)) {
			t.Errorf("fits(%q) = %v; want it to name the id and the column", c.id, err)
		}
	}
}

func TestIncompatible(t *testing.T) {
	t.Parallel()
	key := func(user, conversation keyType) []condition {
		return []condition{{column: `"owner"`, typ: user, value: value{id: "user_id"}}, {column: `"thread"`, typ: conversation, value: value{id: "conversation_id"}}}
	}
	s := &Checked{
		tenant:        "solo",
		Messages:      Messages{Table: Table{Name: `"posts"`, conditions: key(bigintKey, textKey)}, SentAt: `"at"`},
		Conversations: Conversations{Table: Table{Name: `"threads"`, conditions: key(textKey, textKey)}},
		Children:      []*Child{{Table: Table{Name: `"files"`, conditions: key(textKey, uuidKey)}}, {Table: Table{Name: `"likes"`}, Reference: reference{{"x", "y", ""}}}},
	}
	s.bind()
	cases := map[string]struct {
		app, user, conversation string
		whole                   bool
		want                    string
	}{
		"nothing":                              {"solo", "7", thread, false, ""},
		"the_whole_command_for_another_tenant": {"other", "7", thread, true, `app_id must be "solo"`},
		"the_whole_command_for_its_user":       {"solo", "alice", "x", true, `table "posts": user_id must be a decimal number of 64 bits, as column "owner" holds`},
		"one_conversation_for_a_childs_column": {"solo", "7", "c2c_bob", false, `table "files": conversation_id must be a UUID`},
	}
	for name, c := range cases {
		t.Run("refuses_"+name, func(t *testing.T) {
			t.Parallel()
			whole, err := s.Incompatible(purge.Deletion{Key: purge.Key{App: c.app, User: c.user, Conversation: c.conversation}})
			if whole != c.whole || (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("Incompatible = %t, %v; want %t, %s", whole, err, c.whole, c.want)
			}
		})
	}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	keys := []condition{{`"a"`, textKey, 0, value{id: "app_id"}}, {`"u"`, bigintKey, 0, value{id: "user_id"}}, {`"c"`, uuidTextKey, 0, value{id: "conversation_id"}}}
	const match = `x."a"::text = q.app_id and x."u" = q.user_id::bigint and x."c"::text = q.conversation_id::uuid::text`
	inRange := Child{Table: Table{conditions: keys}, Seq: `"s"`, messageSeq: `"n"`}
	byReference := Child{Reference: reference{{`"r"`, `"id"`, ""}}}
	for _, c := range []struct{ what, got, want string }{
		{"Match", inRange.Match("x", "q"), match},
		{"BelongsTo of a range", inRange.BelongsTo("x", "m", "q"), match + ` and x."s" = m."n"`},
		{"BelongsTo of a reference", byReference.BelongsTo("x", "m", "q"), `x."r" = m."id"`},
	} {
		if c.got != c.want {
			t.Errorf("%s = %s; want %s", c.what, c.got, c.want)
		}
	}
	s := &Checked{Children: []*Child{&byReference, &inRange}}
	if got := s.RangeChildren(); len(got) != 1 || got[0].Seq != `"s"` {
		t.Errorf("RangeChildren = %+v; want the second child", got)
	}
}
