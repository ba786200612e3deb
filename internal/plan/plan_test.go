package plan

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestParsePlan(t *testing.T) {
	t.Parallel()
	t.Run("reads_the_bundled_plan", func(t *testing.T) {
		t.Parallel()
		p := Bundled()
		key := Columns{App: "app_id", User: "user_id", Conversation: "conversation_id"}
		want := []Placed{
			{"messages", Entry{Table: "chat.messages", Columns: key, Seq: Reading{Column: "seq"}, SentAt: Reading{Column: "sent_at"}}},
			{"conversations", Entry{Table: "chat.conversations", Columns: key, Unread: "unread_count"}},
			{"children[0]", Entry{Table: "chat.reactions", Columns: key, Seq: Reading{Column: "seq"}}},
			{"children[1]", Entry{Table: "chat.attachments", Columns: key, Seq: Reading{Column: "seq"}}},
		}
		got := p.Entries()
		for i := range got {
			got[i].line, got[i].lines = 0, nil
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("the entries are %+v; want %+v", got, want)
		}
	})
	cases := map[string]struct{ old, new, want string }{
		"an_unknown_field":                    {"tenant:", "tenants:", "tenants"},
		"no_YAML":                             {"tenant: solo", "tenant: [", "plan: "},
		"a_table_that_is_missing":             {"table: social.Post", "table:", "messages.table is missing: it must name a table"},
		"a_column_that_is_missing":            {"  seq: position\n  sent_at", "  sent_at", "messages.seq is missing: it must name a column"},
		"a_childs_column_that_is_missing":     {"    user: owner\n", "", "children[1].user is missing: expected a column, or a condition on $user under where"},
		"a_reference_without_a_column":        {"{column: post, to: id}", "{to: id}", "children[2].references.column is missing"},
		"a_reference_to_nothing":              {"{column: post, to: id}", "{column: post}", "children[2].references.to is missing"},
		"a_reference_with_key_columns":        {"{column: post, to: id}", "{column: post, to: id}\n    seq: position", "children[2]: give either references or app, user, conversation and seq, not both"},
		"no_tenant_where_there_is_no_app":     {"tenant: solo\n", "", "tenant: name the one app that the tables belong to if, and only if, they have no app column"},
		"an_app_column_in_one_table":          {"  user: member", "  app: app\n  user: member", "tenant: a condition uses $app, and there is a tenant"},
		"one_column_for_two_ids":              {"  conversation: thread\n  seq", "  conversation: owner\n  seq", "messages.user: column owner is conversation already"},
		"a_table_of_three_names":              {"social.Post", "db.social.Post", "messages.table: db.social.Post: more than schema.table; put double quotes around a name with a dot in it"},
		"a_table_with_an_open_quote":          {"social.Post", `social."Post`, `messages.table: social."Post: a double quote is not closed`},
		"a_table_without_a_name":              {"social.Post", "social.", "messages.table: social.: a name is empty"},
		"a_column_with_words_after_a_quote":   {"user: owner", `user: '"owner" x'`, `messages.user: "owner" x: " x" after a closing quote`},
		"an_unread_column_with_an_open_quote": {"unread: unseen", `unread: '"unseen'`, "conversations.unread: \"unseen: a double quote is not closed"},
	}
	for name, c := range cases {
		t.Run("refuses_"+name, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(socialPlan, c.old) {
				t.Fatalf("the plan has no %q", c.old)
			}
			_, err := Parse([]byte(strings.Replace(socialPlan, c.old, c.new, 1)))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Parse = %v; want it to say: %s", err, c.want)
			}
		})
	}
	t.Run("tells_every_problem_of_an_empty_plan_on_a_line_of_its_own", func(t *testing.T) {
		t.Parallel()
		_, err := Parse([]byte("children: [{}]"))
		if got := len(errorLines(err)); got != 4 {
			t.Errorf("Parse = %v; want 4 lines, not %d", err, got)
		}
		for _, l := range errorLines(err) {
			if !strings.HasPrefix(l, "plan: ") {
				t.Errorf("a line is %q; want it to start with the plan", l)
			}
		}
	})
	t.Run("refuses_an_empty_file", func(t *testing.T) {
		t.Parallel()
		if _, err := Parse(nil); err == nil {
			t.Error("Parse took it")
		}
	})
}

func TestParseTable(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]tableName{
		`posts`:               {"", "posts"},
		`social.posts`:        {"social", "posts"},
		`Social.Post`:         {"Social", "Post"},
		`"Social"."Post"`:     {"Social", "Post"},
		`social."a.b"`:        {"social", "a.b"},
		`"a.b".c`:             {"a.b", "c"},
		`"say ""hi"""`:        {"", `say "hi"`},
		`my table`:            {"", "my table"},
		`social.чат`:          {"social", "чат"},
		`posts; drop table x`: {"", "posts; drop table x"},
	} {
		if got, err := parseTable(in); got != want || err != nil {
			t.Errorf("parseTable(%s) = %+v, %v; want %+v", in, got, err, want)
		}
	}
	for _, in := range []string{``, `.`, `a.`, `.a`, `a.b.c`, `"a`, `"a"b`, `a."b"c`, `""`, "a\x00"} {
		if got, err := parseTable(in); err == nil {
			t.Errorf("parseTable(%q) = %+v; want an error", in, got)
		}
	}
}

func TestParseColumn(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{`seq`: `seq`, `sentAt`: `sentAt`, `sent.at`: `sent.at`, `"sentAt"`: `sentAt`, `"a""b"`: `a"b`} {
		if got, err := parseColumn(in); got != want || err != nil {
			t.Errorf("parseColumn(%s) = %s, %v; want %s", in, got, err, want)
		}
	}
	for _, in := range []string{``, `""`, `"a`, `"a"."b"`} {
		if got, err := parseColumn(in); err == nil {
			t.Errorf("parseColumn(%q) = %q; want an error", in, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/wrong/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add(bundled)
	f.Add([]byte(socialPlan))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse(data)
		if err == nil {
			p.Entries()
			return
		}
		for _, l := range errorLines(err) {
			if !strings.HasPrefix(l, "plan: ") {
				t.Errorf("a line is %q; want it to start with the plan", l)
			}
		}
	})
}

func FuzzParseTable(f *testing.F) {
	for _, s := range []string{`a`, `a.b`, `"a.b"."c""d"`, `"`, `.`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := parseTable(s)
		if err != nil {
			return
		}
		if again, err := parseTable(n.String()); again != n || err != nil {
			t.Errorf("parseTable(%s) = %+v, %v; want what %q is, %+v", n, again, err, s, n)
		}
	})
}
