package plan

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/jackc/pgx/v5/pgxpool"
)

// page is the reference of the language; examplePlan and exampleTables are its example.
var (
	page          = readPage("../../docs/plan.md")
	exampleTables = blocks("sql tables")[0]
	examplePlan   = blocks("yaml whole")[0]
)

func readPage(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// blocks are the page's blocks of code of a kind.
func blocks(kind string) (all []string) {
	for _, m := range regexp.MustCompile("(?ms)^```"+kind+"\n(.*?)^```$").FindAllStringSubmatch(page, -1) {
		all = append(all, m[1])
	}
	return all
}

// parseEntry reads an entry alone.
func parseEntry(text, kind string) Entry {
	file, err := parser.ParseBytes([]byte(text), 0)
	if err != nil {
		panic(text + ": " + err.Error())
	}
	d := &decoder{anchors: map[string]ast.Node{}}
	e := d.entry(file.Docs[0].Body, "children[0]", kind)
	if err := d.err(); err != nil {
		panic(err)
	}
	return e
}

// at finds an entry by its path; of a list, the list.
func at(t *testing.T, p *Plan, path string) (*Entry, *[]Entry) {
	t.Helper()
	e, list := (*Entry)(nil), (*[]Entry)(nil)
	for _, step := range strings.Split(path, ".") {
		name, rest, indexed := strings.Cut(step, "[")
		switch {
		case name == "messages":
			e = &p.Messages
		case name == "conversations":
			e = &p.Conversations
		case name == "children" && e == nil:
			list = &p.Children
		case name == "children":
			list = &e.Children
		case name == "parents":
			list = &e.Parents
		case name == "kept_by":
			list = &e.KeptBy
		default:
			t.Fatalf("%s is no path of an entry", path)
		}
		if indexed {
			i, err := strconv.Atoi(strings.TrimSuffix(rest, "]"))
			if err != nil || i >= len(*list) {
				t.Fatalf("%s: there is no such entry", path)
			}
			e = &(*list)[i]
		}
	}
	return e, list
}

var (
	addEntry = regexp.MustCompile(`add to ((?:messages|conversations|children)[^ :]*|children): (\{.*)`)
	addWhere = regexp.MustCompile(`^(?:plan: )?(?:line \d+: )?([^: ]*): .*add to where: (\{.*?\})`)
)

// follow does what the line of a check says: it changes the plan, or else runs the statement. settled is what an operator
// puts in the place of ….
func follow(t *testing.T, pool *pgxpool.Pool, p *Plan, line, settled string) {
	t.Helper()
	if m := addEntry.FindStringSubmatch(line); m != nil {
		_, list := at(t, p, m[1])
		kind := "a child"
		if strings.HasSuffix(m[1], "kept_by") {
			kind = "kept_by"
		}
		*list = append(*list, parseEntry(braced(m[2]), kind))
		return
	}
	if m := addWhere.FindStringSubmatch(line); m != nil {
		e, _ := at(t, p, m[1])
		e.Where = append(e.Where, parseEntry("{where: "+strings.ReplaceAll(m[2], "…", settled)+"}", "a child").Where...)
		return
	}
	m := runForm.FindStringSubmatch(line)
	if m == nil {
		t.Fatalf("%s: there is nothing to follow", line)
	}
	execSQL(t, pool, m[1])
}

// braced is the text up to the brace that closes the first one.
func braced(text string) string {
	depth := 0
	for i, r := range text {
		switch r {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return text[:i+1]
			}
		}
	}
	return text
}

// rule is a change to the page's example, what the check says of it, and, where that isn't followed to the
// letter, what an operator does.
type rule struct {
	sql      string
	old, new string // in the plan
	want     []string
	warned   []string
	settle   string // SQL in place of what is said
	settled  string // what an operator puts in the place of …
	stays    bool   // nothing settles it
}

var rules = map[string]rule{
	"a_child_of_a_child": {
		sql:  `create table links (preview_id bigint not null); alter table previews add id bigint primary key; alter table links add foreign key (preview_id) references previews; create index on links (preview_id)`,
		want: []string{`table "public"."links" refers to "public"."previews" by foreign key "links_preview_id_fkey" (on delete no action) and is not in the plan: it would block the deletion, or be changed without a bound; if each of its rows is a part of what it refers to and may be deleted with it, add to children[1].children[0].children: {table: public.links, references: {column: preview_id, to: id}}; if not, run: alter table`},
	},
	"a_child_that_may_refer_to_nothing": {
		sql:  `create table stars (who text primary key, message_id bigint references messages); create index on stars (message_id)`,
		want: []string{`if its rows stay, and lose the reference, add to children: {table: public.stars, references: {column: message_id, to: id}, set: {message_id: null}}; if each of them`},
	},
	"a_child_that_may_refer_to_nothing_by_several_columns": {
		sql: `alter table messages add unique (owner_id, id);
			create table stars (who bigint not null, m bigint, foreign key (who, m) references messages (owner_id, id)); create index on stars (who, m)`,
		want: []string{`if its rows stay, and lose the reference, add to children: {table: public.stars, references: {column: [who, m], to: [owner_id, id]}, set: {m: null}}; if each of them is a part of what it refers to, and is to be deleted with it, leave set out; else run: alter table`},
	},
	"a_child_of_several_columns": {
		sql:  `alter table attachments add unique (message_id, id); create table links (m bigint not null, a bigint not null, foreign key (m, a) references attachments (message_id, id)); create index on links (m, a)`,
		want: []string{`add to children[1].children: {table: public.links, references: {column: [m, a], to: [message_id, id]}}`},
	},
	"a_child_of_the_conversations": {
		sql:  `create table drafts (o bigint not null, t text not null, foreign key (o, t) references threads); create index on drafts (o, t)`,
		want: []string{`add to conversations.children: {table: public.drafts, references: {column: [o, t], to: [owner_id, thread_id]}}`},
	},
	"a_child_of_one_of_several_conversations": {
		sql: `create table drafts (t text not null); create index on drafts (t)`,
		old: "  set: {messages_count", new: "  children: [{table: drafts, references: {column: t, to: thread_id}}]\n  set: {messages_count",
		want: []string{`conversations.children[0].references.to: nothing keeps two rows of "public"."threads" from having the same "thread_id", so that the rows of one conversation would go with another`}, stays: true,
	},
	"a_table_that_refers_to_a_parent": {
		sql:  `create table avatars (file_id bigint references files); create index on avatars (file_id)`,
		want: []string{`table "public"."avatars" refers to "public"."files" by foreign key "avatars_file_id_fkey" (on delete no action), and the plan doesn't say whether its rows keep a row of "public"."files" or go with it; if they keep it, add to children[1].parents[0].kept_by: {table: public.avatars, references: {column: file_id, to: id}}`},
	},
	"a_parent_by_several_columns_of_which_the_owner_is_one": {
		sql: `create table images (owner_id bigint not null, id bigint not null, primary key (owner_id, id));
			alter table messages add image_id bigint, add foreign key (owner_id, image_id) references images; create index on messages (owner_id, image_id)`,
		old: "conversations:\n", new: "  parents: [{table: images, references: {column: [owner_id, image_id], to: [owner_id, id]}}]\nconversations:\n",
	},
	"a_parent_that_nothing_ties": {
		sql:    `alter table attachments drop constraint attachments_file_id_fkey`,
		warned: []string{`children[1].parents[0]: no foreign key ties "file_id" of "public"."attachments" to "public"."files": a reference that is added while its last other one is deleted may be left with none; if there can be one, run: alter table "public"."attachments" add foreign key ("file_id") references "public"."files" ("id") not valid`},
	},
	"what_keeps_a_parent_that_nothing_ties": {
		sql: `create table avatars (file_id bigint); create index on avatars (file_id)`,
		old: "{table: files, references: {column: file_id, to: id}}", new: "{table: files, references: {column: file_id, to: id}, kept_by: [{table: avatars, references: {column: file_id, to: id}}]}",
		warned: []string{`children[1].parents[0].kept_by[0]: no foreign key ties "file_id" of "public"."avatars"`},
	},
	"what_keeps_a_parent_among_others": {
		sql: `create table avatars (kind text not null, file_id bigint); create index on avatars (file_id)`,
		old: "{table: files, references: {column: file_id, to: id}}", new: "{table: files, references: {column: file_id, to: id}, kept_by: [{table: avatars, where: {kind: custom}, references: {column: file_id, to: id}}]}",
		warned: []string{`writers must lock the row that they refer to`}, stays: true,
	},
	"what_keeps_a_parent_and_leaves_rows_out_that_a_key_ties": {
		sql: `create table avatars (kind text not null, file_id bigint references files); create index on avatars (file_id)`,
		old: "{table: files, references: {column: file_id, to: id}}", new: "{table: files, references: {column: file_id, to: id}, kept_by: [{table: avatars, where: {kind: custom}, references: {column: file_id, to: id}}]}",
		want: []string{`table "public"."avatars" refers to "public"."files" by foreign key "avatars_file_id_fkey" (on delete no action), and the plan doesn't say whether its rows keep`},
	},
	"indexes_on_each_reference": {
		sql: `drop index attachments_file_id_idx, previews_attachment_id_idx, pins_message_id_idx`,
		want: []string{
			`children[1].children[0]: "public"."previews" has no btree index that leads with "attachment_id"`, `children[2]: "public"."pins" has no btree index that leads with "message_id"`,
			`children[1].parents[0]: "public"."attachments" has no btree index that leads with "file_id"`,
		},
	},
	"a_parent_that_two_rows_may_be": {
		sql:  `alter table attachments drop constraint attachments_file_id_fkey; alter table files drop constraint files_pkey; create index on files (id)`,
		want: []string{`children[1].parents[0].references.to: nothing keeps two rows of "public"."files" from having the same "id"`}, warned: []string{"no foreign key ties"},
		settle: `alter table files add primary key (id); alter table attachments add foreign key (file_id) references files`,
	},
	"a_lookup_that_two_rows_may_be": {
		sql:  `alter table people drop constraint people_login_key`,
		want: []string{`ids.owner: nothing keeps two rows of "public"."people" from having the same login, so that $owner could be either's (a unique index on an expression, such as lower(jid), doesn't count; ids are compared as written); run: create unique index`},
	},
	"a_lookup_of_what_several_have": {
		sql: `alter table people add company_id bigint not null default 1`, old: "column: id}", new: "column: company_id}",
		want: []string{
			`messages: owner_id is compared with $owner, and several rows of "public"."people" may have the same "company_id": rows that belong to another of them would be deleted; look up a column that is unique, or if this one is, run: create unique index concurrently on "public"."people" ("company_id")`,
			`conversations: owner_id is compared with $owner`,
		},
		settle: `create unique index on people (company_id)`,
	},
	"a_lookup_of_what_is_unique_in_each_store": {
		sql: `alter table people add store text not null default 'a', add no bigint not null default 0, add unique (store, no), drop constraint people_login_key, add unique (store, login);
			alter table messages add shop text not null default 'a'; alter table threads add shop text not null default 'a'`,
		old: "{login: $user}, column: id}", new: "{login: $user, store: a}, column: no}",
		want: []string{
			`messages: owner_id is compared with $owner, and several rows of "public"."people" may have the same "no": rows that belong to another of them would be deleted; which column of "public"."messages" has what "store" of "public"."people" has? add to where: {…: a}`,
			`conversations: owner_id is compared with $owner`,
		},
		settled: "shop",
	},
	"a_lookup_of_what_is_looked_up_by_constants": {
		sql: `create table types (id int primary key, model text not null unique); create table tags (type_id int not null, object_id bigint not null); create index on tags (object_id, type_id)`,
		old: "children:\n  - {table: reactions", new: "children:\n  - {table: tags, where: {type_id: $message}, references: {column: object_id, to: id}}\n  - {table: reactions",
	},
	"what_seems_to_refer_to_a_partitioned_table": {
		sql: `drop table pins, previews, attachments, reactions, messages;
			create table messages (id bigint not null, owner_id bigint not null, thread_id text not null, sent_ms bigint not null, body text not null, primary key (id, sent_ms)) partition by range (sent_ms);
			create index on messages (owner_id, thread_id, id); create table tags (message_id bigint not null); create index on tags (message_id)`,
		old: examplePlan[strings.Index(examplePlan, "children:"):], new: "children: []\n",
		warned: []string{`by its name, column "message_id" refers to "id" of messages, a partitioned table, where that is unique only with "sent_ms"; if they belong to it, give them columns of that, too, and add to children: {table: public.tags, references: {column: [message_id, sent_ms], to: [id, sent_ms]}}`},
		settle: `drop table tags`,
	},
	"a_reference_to_one_of_the_columns_of_a_partitioned_table": {
		sql: `drop table pins, previews, attachments, reactions, messages;
			create table messages (id bigint not null, owner_id bigint not null, thread_id text not null, sent_ms bigint not null, body text not null, primary key (id, sent_ms)) partition by range (sent_ms);
			create index on messages (owner_id, thread_id, id); create table tags (message_id bigint not null); create index on tags (message_id)`,
		old: examplePlan[strings.Index(examplePlan, "children:"):], new: "children: [{table: tags, references: {column: message_id, to: id}}]\n",
		want: []string{`children[0].references.to: "public"."messages" is partitioned, and "id", "sent_ms" are unique only together, so that the deletion of one would remove child rows of the other; refer to all of them, by as many columns: to: [id, sent_ms]`}, stays: true,
	},
	"a_set_that_is_published": {
		sql:  `alter table pins replica identity nothing; create publication pinned for table pins with (publish = 'update')`,
		want: []string{`publication "pinned" publishes updates from "public"."pins", which has no replica identity, so the server refuses to update there; run: alter table`},
	},
	"a_table_that_is_kept_by_itself_is_fine": {
		sql: `alter table messages add reply_to bigint references messages on delete set null; create index on messages (reply_to)`,
	},
}

// A child may refer to the messages and to the conversations, however each of them names the conversation.
func TestChildOfMessagesAndConversations(t *testing.T) {
	t.Parallel()
	pool := openPool(t)
	execSQL(t, pool, `create table conversations (owner int, id int, primary key (owner, id));
		create table messages (owner int, conv int, no int, at timestamptz not null default now(), primary key (owner, conv, no), foreign key (owner, conv) references conversations);
		create table notes (owner int not null, conv int not null, no int not null, foreign key (owner, conv) references conversations, foreign key (owner, conv, no) references messages);
		create index on notes (owner, conv, no)`)
	p, err := Parse([]byte(`tenant: x
ids:
  c: {lookup: conversations, where: {owner: $user, id: $conversation}, column: id}
messages: {table: messages, where: {owner: $user, conv: $c}, seq: no, sent_at: at}
conversations: {table: conversations, where: {owner: $user, id: $conversation}}
children:
  - {table: notes, references: {column: [owner, conv, no], to: [owner, conv, no]}}
`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Check(t.Context(), pool, p, Options{AnyRole: true}); err != nil {
		t.Error(err)
	}
}

const (
	pointerTables = `create table messages (id bigint primary key, thread_id text not null, author_id bigint not null, created_at timestamptz not null default now());
		create index on messages (thread_id, id);
		create table deliveries (user_id bigint not null, message_id bigint not null references messages, primary key (user_id, message_id)); create index on deliveries (message_id);`
	pointerPlan = `tenant: demo
messages:
  table: deliveries
  user: user_id
  parents:
    - table: messages
      references: {column: message_id, to: id}
      conversation: thread_id
      seq: id
      sent_at: created_at
`
)

// pointerRules are rules for pointers.
var pointerRules = map[string]rule{
	"pointers": {},
	"pointers_without_indexes": {
		sql: `drop index messages_thread_id_id_idx; alter table deliveries drop constraint deliveries_pkey; drop index deliveries_message_id_idx`,
		want: []string{
			`messages.parents[0]: "public"."messages" has no btree index that leads with "thread_id" and goes on with "id"`,
			`messages: "public"."deliveries" has no btree index that leads with "user_id", "message_id"`,
			`messages.parents[0]: "public"."deliveries" has no btree index that leads with "message_id"`,
		},
	},
	"what_refers_to_what_pointers_point_to": {
		sql:  `create table reactions (message_id bigint not null references messages); create index on reactions (message_id)`,
		want: []string{`table "public"."reactions" refers to "public"."messages" by foreign key "reactions_message_id_fkey" (on delete no action), and the plan doesn't say whether its rows keep a row of "public"."messages" or go with it; if they keep it, add to messages.parents[0].kept_by: {table: public.reactions, references: {column: message_id, to: id}}; if they go with it, add that to messages.parents[0].children`},
	},
	"what_seems_to_refer_to_what_pointers_point_to": {
		sql:    `create table reactions (message_id bigint not null); create index on reactions (message_id)`,
		warned: []string{`table "public"."reactions" is not in the plan, and its rows stay: by its name, column "message_id" refers to "id" of messages; if they belong to it, add to messages.parents[0].children: {table: public.reactions, references: {column: message_id, to: id}}`},
	},
	"pointers_that_nothing_ties": {
		sql:    `alter table deliveries drop constraint deliveries_message_id_fkey`,
		warned: []string{`messages.parents[0]: no foreign key ties "message_id" of "public"."deliveries" to "public"."messages"`},
	},
	"pointers_to_what_senders_have": {
		old: "      conversation: thread_id\n", new: "      where: {author_id: $user}\n      conversation: thread_id\n",
		warned: []string{`messages.parents[0]: by its name, column "author_id" of "public"."messages" is who sent the message`}, stays: true,
		sql: `create index on messages (author_id, thread_id, id)`,
	},
	"a_position_of_what_pointers_point_to_that_may_be_null": {
		sql:  `alter table messages alter created_at drop not null, alter created_at drop default`,
		want: []string{`messages.parents[0].sent_at: column "created_at" of "public"."messages" may be null`},
	},
}

// The check of the page's example finds nothing, and of each change to it what an operator needs; whoever does all that it
// says, until it has nothing more to say, is content.
func TestRulesOfTrees(t *testing.T) {
	t.Parallel()
	followRules(t, exampleTables, examplePlan, rules)
}

// The same of pointers.
func TestRulesOfPointers(t *testing.T) {
	t.Parallel()
	followRules(t, pointerTables, pointerPlan, pointerRules)
}

func followRules(t *testing.T, tables, planText string, all map[string]rule) {
	t.Helper()
	for name, c := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := openPool(t)
			execSQL(t, pool, tables+c.sql)
			if !strings.Contains(planText, c.old) {
				t.Fatalf("the plan has no %q", c.old)
			}
			text := strings.Replace(planText, c.old, c.new, 1)
			if strings.Contains(text, "$message}") {
				text = strings.Replace(text, "ids:\n", "ids:\n  message: {lookup: types, where: {model: message}, column: id}\n", 1)
			}
			p, err := Parse([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			for round := range 6 {
				r, err := Inspect(t.Context(), pool, p, Options{Neighbors: true, AnyRole: true})
				if err != nil {
					t.Fatal(err)
				}
				var problems, warnings []string
				for _, f := range r.Findings {
					if f.Problem {
						problems = append(problems, f.Text)
					} else {
						warnings = append(warnings, f.Text)
					}
				}
				if round == 0 {
					compareLines(t, "problems", problems, c.want)
					compareLines(t, "warnings", warnings, c.warned)
				}
				if len(r.Findings) == 0 || c.stays || t.Failed() {
					return
				}
				if c.settle != "" {
					execSQL(t, pool, c.settle)
					continue
				}
				for _, f := range r.Findings {
					follow(t, pool, &p, f.Text, c.settled)
				}
			}
			t.Error("after six rounds it still finds something")
		})
	}
}
