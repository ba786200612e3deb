package repo

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lethe-im/lethe/internal/localstack/localtest"
	"github.com/lethe-im/lethe/internal/purge"
)

// check is one plan and one schema that are held against each other.
type check struct {
	sql    string               // run after socialTables; social stands for a schema of its own
	edit   func(p *Plan)        // nil for the social plan as it is
	want   []string             // parts of the error's lines, in order; none: no error
	warned []string             // parts of the warnings
	also   func(*schema) string // what else is wrong
	allow  bool                 // --allow-unindexed
}

// run resolves the case's plan in a schema of its own.
func (c check) run(t *testing.T, pool *pgxpool.Pool, schemaName string) (*schema, error) {
	t.Helper()
	own := func(s string) string { return regexp.MustCompile(`\bsocial\b`).ReplaceAllString(s, schemaName) }
	execSQL(t, pool, own(socialTables+c.sql))
	plan, err := ParsePlan([]byte(own(socialPlan)))
	if err != nil {
		t.Fatal(err)
	}
	if c.edit != nil {
		c.edit(&plan)
	}
	s, err := resolve(t.Context(), pool, plan, c.allow)
	for i := range c.want {
		c.want[i] = own(c.want[i])
	}
	compareLines(t, "error", lines(err), c.want)
	if s != nil {
		compareLines(t, "warnings", s.warnings, c.warned)
	}
	return s, err
}

func lines(err error) []string {
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}

func compareLines(t *testing.T, what string, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s = %q; want %d lines: %q", what, got, len(want), want)
	}
	for i := range got {
		if !strings.Contains(got[i], want[i]) {
			t.Errorf("%s = %s\nwant it to say: %s", what, got[i], want[i])
		}
	}
}

var refusals = map[string]check{
	"a_missing_table": {
		sql:  `drop table social.mentions`,
		want: []string{`plan: children[2].table: there is no table "social"."mentions"; name one that exists`},
	},
	"a_table_that_the_search_path_does_not_find": {
		edit: func(p *Plan) { p.Conversations.Table = "thread_members" },
		want: []string{`plan: conversations.table: there is no table "thread_members" on the search path ("$user", public); write schema.table`},
	},
	"a_table_in_another_case": {
		edit: func(p *Plan) { p.Messages.Table = strings.ToLower(p.Messages.Table) },
		want: []string{`there is no table "social"."post"; name one that exists, in just the case that it has`},
	},
	"missing_columns_each_with_a_line": {
		edit: func(p *Plan) {
			p.Messages.User, p.Messages.SentAt, p.Conversations.Unread = "user", "at", "count"
			p.Children[0].References.Column, p.Children[1].Seq = "post", "seq"
		},
		want: []string{
			`messages.user: table "social"."Post" has no column "user"; name one of: body, id, owner, position, sent.at, thread`,
			`messages.sent_at: table "social"."Post" has no column "at"`,
			`conversations.unread: table "social"."thread_members" has no column "count"`,
			`children[0].references.column: table "social"."likes" has no column "post"`,
			`children[1].seq: table "social"."files" has no column "seq"`,
		},
	},
	"a_view": {
		sql:  `alter table social.thread_members rename to members; create view social.thread_members as select * from social.members`,
		want: []string{`conversations.table: "social"."thread_members" is a view; name a table`},
	},
	"a_materialized_view": {
		sql:  `alter table social.thread_members rename to members; create materialized view social.thread_members as select * from social.members`,
		want: []string{`"social"."thread_members" is a materialized view; name a table`},
	},
	"a_foreign_table": {
		sql: `create foreign data wrapper social_w; create server social_s foreign data wrapper social_w; drop table social.mentions;
			create foreign table social.mentions (id int, post int, who text) server social_s`,
		want: []string{`"social"."mentions" is a foreign table; name a table`},
	},
	"an_index_in_place_of_a_table": {
		edit: func(p *Plan) { p.Messages.Table = strings.Replace(p.Messages.Table, "Post", "Post_pkey", 1) },
		want: []string{`"social"."Post_pkey" is an index; name a table`},
	},
	"a_table_with_a_rule_for_delete": {
		sql:  `create rule keep as on delete to social.mentions do instead nothing`,
		want: []string{`"social"."mentions" has a rule for update or delete, which changes what the statements do; drop the rule`},
	},
	"one_table_in_two_places": {
		edit: func(p *Plan) { p.Children = append(p.Children, p.Children[1]) },
		want: []string{`children[3]: table "social"."files" stands at children[1] already`},
	},
	"a_key_of_numeric": {
		sql:  `alter table social.thread_members alter member type numeric using member::numeric`,
		want: []string{`conversations.user: column "member" of "social"."thread_members" is numeric; a key must be text, varchar, bigint, integer or uuid`},
	},
	"a_key_of_smallint": {
		sql:  `alter table social.thread_members alter member type smallint using member::smallint`,
		want: []string{`column "member" of "social"."thread_members" is smallint; a key must be`},
	},
	"a_key_of_char": {
		sql:  `alter table social.thread_members alter member type char(40)`,
		want: []string{`is character(40), in which blanks at the end don't count; a key must be`},
	},
	"a_key_in_a_collation_without_case": {
		sql: `create collation social.anycase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
			alter table social.thread_members alter member type text collate social.anycase`,
		want: []string{`is text in a nondeterministic collation, in which different ids may be equal; a key must be`},
	},
	"a_seq_of_numeric": {
		sql:  `alter table social.files drop constraint files_owner_thread_position_fkey, alter position type numeric`,
		want: []string{`children[1].seq: column "position" of "social"."files" is numeric; it must be smallint, integer or bigint`},
	},
	"a_sent_at_of_date": {
		sql:  `alter table social."Post" alter "sent.at" type date`,
		want: []string{`messages.sent_at: column "sent.at" of "social"."Post" is date; it must be timestamp with time zone, or timestamp in UTC`},
	},
	"an_unread_of_text": {
		sql:  `alter table social.thread_members alter unseen drop default, alter unseen type text`,
		want: []string{`conversations.unread: column "unseen" of "social"."thread_members" is text; it must be smallint, integer or bigint`},
	},
	"an_unread_that_is_generated": {
		sql:  `alter table social.thread_members drop unseen, add unseen int generated always as (1) stored`,
		want: []string{`column "unseen" of "social"."thread_members" is generated and can't be set; leave unread out`},
	},
	"a_reference_that_two_messages_may_share": {
		sql:  `alter table social."Post" add message_id int; create index on social."Post" (message_id); create unique index on social."Post" (message_id, owner)`,
		edit: func(p *Plan) { p.Children[2].References.To = "message_id" },
		want: []string{`children[2].references.to: nothing keeps two rows of "social"."Post" from having the same "message_id", and then one's deletion would take what hangs on the other`},
	},
	"a_reference_of_another_type": {
		sql:  `alter table social.mentions alter post type text`,
		want: []string{`children[2].references: column "post" of "social"."mentions" is text and "id" of "social"."Post" is bigint; both must be of one type and collation`},
	},
	"an_unplanned_table_that_refers_to_messages": {
		sql:  `create table social.reports (id int primary key, post bigint references social."Post" on delete cascade); create index on social.reports (post)`,
		want: []string{`plan: table "social"."reports" refers to "social"."Post" by foreign key "reports_post_fkey" (on delete cascade) and is not in the plan`},
	},
	"an_unplanned_table_that_refers_to_messages_and_would_forget_them": {
		sql:  `create table social.reports (id int primary key, post bigint references social."Post" on delete set null)`,
		want: []string{`table "social"."reports" refers to "social"."Post" by foreign key "reports_post_fkey" (on delete set null) and is not in the plan`},
	},
	"an_unplanned_table_that_refers_to_a_child": {
		sql: `create table social.previews (thread uuid, owner bigint, position int, name varchar(100),
			foreign key (owner, thread, position, name) references social.files (owner, thread, position, name))`,
		want: []string{`table "social"."previews" refers to "social"."files" by foreign key`},
	},
	"an_unplanned_table_that_refers_to_the_conversations": {
		sql:  `create table social.pins (thread uuid, member varchar(40), foreign key (thread, member) references social.thread_members)`,
		want: []string{`table "social"."pins" refers to "social"."thread_members" by foreign key`},
	},
	"an_unplanned_partitioned_table_once": {
		sql: `create table social.reports (id int, post bigint references social."Post") partition by hash (id);
			create table social.reports_0 partition of social.reports for values with (modulus 2, remainder 0);
			create table social.reports_1 partition of social.reports for values with (modulus 2, remainder 1)`,
		want: []string{`table "social"."reports" refers to "social"."Post" by foreign key`},
	},
	"a_second_reference_that_the_plan_does_not_follow": {
		sql:  `alter table social.mentions add origin bigint references social."Post"; create index on social.mentions (origin)`,
		want: []string{`foreign key "mentions_origin_fkey" of "social"."mentions" to "social"."Post" (on delete no action): no entry of the plan goes this way; add to children: {table: "social"."mentions", references: {column: "origin", to: "id"}}`},
	},
	"replies_that_go_with_what_they_answer": {
		sql:  `alter table social."Post" add reply_to bigint references social."Post" on delete cascade; create index on social."Post" (reply_to)`,
		want: []string{`foreign key "Post_reply_to_fkey" of "social"."Post" to "social"."Post" (on delete cascade): rows that the deletion doesn't cover would go, too; make it on delete set null, or drop it`},
	},
	"replies_that_hold_what_they_answer": {
		sql:  `alter table social."Post" add reply_to bigint references social."Post"; create index on social."Post" (reply_to)`,
		want: []string{`(on delete no action): a row that stays would keep the deletion from finishing; make it on delete set null, or drop it`},
	},
	"replies_that_lose_their_key": {
		sql: `alter table social."Post" add reply_to int, add foreign key (thread, owner, reply_to) references social."Post" (thread, owner, position) on delete set null;
			create index on social."Post" (thread, owner, reply_to)`,
		want: []string{`it would change "owner", by which the plan finds rows; drop it, or have it set other columns only`},
	},
	"a_conversation_that_goes_with_its_last_message": {
		sql:  `alter table social.thread_members add latest bigint references social."Post" on delete cascade; create index on social.thread_members (latest)`,
		want: []string{`foreign key "thread_members_latest_fkey" of "social"."thread_members" to "social"."Post" (on delete cascade): rows that the deletion doesn't cover would go, too`},
	},
	"a_child_after_the_one_that_it_refers_to": {
		sql:  `alter table social.mentions add liker text, add constraint m2l foreign key (post, liker) references social.likes; create index on social.mentions (post, liker)`,
		want: []string{`foreign key "m2l" of "social"."mentions" to "social"."likes" (on delete no action): "social"."likes" goes first, which it doesn't allow; in the plan, put children[2] before children[0]`},
	},
	"a_message_that_refers_to_a_child_which_goes_first": {
		sql:  `alter table social.mentions add unique (id, post); alter table social."Post" add first_mention int references social.mentions; create index on social."Post" (first_mention)`,
		want: []string{`foreign key "Post_first_mention_fkey" of "social"."Post" to "social"."mentions" (on delete no action): a row that stays would keep the deletion from finishing`},
	},
}

func TestResolveRefuses(t *testing.T) {
	t.Parallel()
	pool := newLedger(t)
	n := 0
	for name, c := range refusals {
		n++
		schemaName := fmt.Sprint("s", n)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := c.run(t, pool, schemaName)
			if fault, cause := purge.FaultOf(err); fault != purge.Own || cause != "plan" {
				t.Errorf("the error is %v, %s; want own, plan", fault, cause)
			}
		})
	}
}

// newLedger is a fresh database with the ledger alone.
func newLedger(tb testing.TB) *pgxpool.Pool {
	tb.Helper()
	url := localtest.Database(tb)
	if _, err := Setup(tb.Context(), url, SetupOptions{}); err != nil {
		tb.Fatal(err)
	}
	return openPool(tb, url)
}

func TestResolveAccepts(t *testing.T) {
	t.Parallel()
	pool := newLedger(t)
	locked := func(want bool) func(*schema) string {
		return func(s *schema) string {
			if s.Locked != want {
				return fmt.Sprintf("Locked = %t", s.Locked)
			}
			return ""
		}
	}
	uncle := func(p *Plan) { p.Children = p.Children[1:2] } // the range alone
	const loose = `drop table social.likes, social.mentions; alter table social.files drop constraint files_owner_thread_position_fkey;`
	cases := map[string]check{
		"the_social_schema":                        {also: locked(true)},
		"messages_that_nothing_refers_to_unlocked": {sql: loose, edit: uncle, also: locked(false)},
		"a_foreign_key_on_the_range":               {sql: `drop table social.likes, social.mentions`, edit: uncle, also: locked(true)},
		"a_cascade_from_a_planned_child": {
			sql:  `drop table social.mentions; ` + strings.Replace(loose, ", social.mentions", "", 1) + `alter table social.files add foreign key (owner, thread, position) references social."Post" (owner, thread, position) on delete cascade`,
			edit: uncle, also: locked(true),
		},
		"a_reference_without_a_foreign_key": {
			sql: strings.Replace(loose, ", social.mentions", "", 1), edit: func(p *Plan) { p.Children = p.Children[1:] }, also: locked(true),
		},
		"no_children": {sql: loose, edit: func(p *Plan) { p.Children = nil }, also: locked(false)},
		"a_table_on_the_search_path": {
			sql:  `create table if not exists public.thread_members (like social.thread_members including all)`,
			edit: func(p *Plan) { p.Conversations.Table = "thread_members" },
			also: func(s *schema) string { return strings.TrimPrefix(s.Conversations.Name, `"public"."thread_members"`) },
		},
		"domains": {
			sql: `create domain social.short as varchar(40); create domain social.member_id as social.short check (value <> '');
				alter table social.thread_members alter member type social.member_id`,
			also: func(s *schema) string {
				return diff(s.Conversations.keys[0], keyColumn{"user_id", `"member"`, textKey, 40})
			},
		},
		"replies_that_forget_what_they_answer": {
			sql: `alter table social."Post" add reply_to bigint references social."Post" on delete set null; create index on social."Post" (reply_to)`,
		},
		"a_conversation_that_forgets_its_last_message": {
			sql: `alter table social.thread_members add latest bigint references social."Post" on delete set null; create index on social.thread_members (latest)`,
		},
		"a_child_before_the_one_that_it_refers_to": {
			sql:  `alter table social.mentions add liker text, add foreign key (post, liker) references social.likes; create index on social.mentions (post, liker)`,
			edit: func(p *Plan) { p.Children[0], p.Children[2] = p.Children[2], p.Children[0] },
		},
		"a_table_with_two_references": {
			sql: `alter table social.mentions add origin bigint references social."Post"; create index on social.mentions (origin)`,
			edit: func(p *Plan) {
				p.Children = append(p.Children, ChildTable{Table: p.Children[2].Table, References: &Reference{"origin", "id"}})
			},
		},
		"a_reference_that_is_part_of_a_wider_foreign_key": {
			sql: `alter table social."Post" add unique (owner, id); alter table social.mentions add owner bigint, add foreign key (owner, post) references social."Post" (owner, id);
				create index on social.mentions (post, owner)`,
		},
		"messages_that_block_their_conversation": {
			sql: `alter table social."Post" add member varchar(40) generated always as (owner::text) stored, add foreign key (thread, member) references social.thread_members;
				create index on social."Post" (member, thread)`,
			also: func(s *schema) string { return s.cascades },
		},
		"messages_that_go_with_their_conversation_but_no_keep_history": {
			sql: `alter table social."Post" add member varchar(40) generated always as (owner::text) stored, add constraint up foreign key (thread, member) references social.thread_members on delete cascade;
				create index on social."Post" (member, thread)`,
			warned: []string{`commands with keep_history will fail, for the history would go with the conversation's row, by foreign key "up"`},
			also: func(s *schema) string {
				d := removal("c1", nil)
				if _, err := s.incompatible(d); err != nil {
					return err.Error()
				}
				d.KeepHistory = true
				if whole, err := s.incompatible(d); !whole || err == nil || !strings.Contains(err.Error(), "keep_history") {
					return fmt.Sprintf("keep_history: %t, %v", whole, err)
				}
				return ""
			},
		},
		"a_UUID_in_text_that_is_told": {
			sql:    `alter table social.thread_members alter thread type varchar(40)`,
			warned: []string{`conversation_id is uuid in "`},
			also: func(s *schema) string {
				return diff(s.Conversations.keys[1], keyColumn{"conversation_id", `"thread"`, uuidTextKey, 40})
			},
		},
	}
	n := 0
	for name, c := range cases {
		n++
		schemaName := fmt.Sprint("a", n)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := c.run(t, pool, schemaName)
			if err != nil {
				t.Fatal(err)
			}
			if c.also != nil {
				if wrong := c.also(s); wrong != "" {
					t.Error(wrong)
				}
			}
		})
	}
}

func diff[T comparable](got, want T) string {
	if got == want {
		return ""
	}
	return fmt.Sprintf("got %+v; want %+v", got, want)
}

// mend is the statement that an error tells to run.
var mend = regexp.MustCompile(`run: ([^;\n]*)`)

func TestResolveWantsIndexes(t *testing.T) {
	t.Parallel()
	pool := newLedger(t)
	const bare = `alter table social.files drop constraint files_owner_thread_position_fkey; alter table social."Post" drop constraint "Post_thread_owner_position_key";`
	const posts = `messages: "social"."Post" has no btree index that leads with "owner", "thread" and goes on with "position"`
	cases := map[string]check{
		"for_the_messages":                       {sql: bare, want: []string{posts}},
		"for_the_messages_and_not_a_partial_one": {sql: bare + `create index on social."Post" (owner, thread, position) where body <> ''`, want: []string{posts}},
		"for_the_messages_and_not_seq_first":     {sql: bare + `create index on social."Post" (position, owner, thread)`, want: []string{posts}},
		"for_the_messages_and_nothing_between":   {sql: bare + `create index on social."Post" (owner, thread, id, position)`, want: []string{posts}},
		"for_the_messages_and_not_a_hash":        {sql: bare + `create index on social."Post" using hash (owner)`, want: []string{posts}},
		"for_the_messages_and_no_expression":     {sql: bare + `create index on social."Post" (abs(owner), thread, position)`, want: []string{posts}},
		"for_the_messages_and_not_seq_included":  {sql: bare + `create index on social."Post" (owner, thread) include (position)`, want: []string{posts}},
		"for_the_messages_and_nulls_where_they_belong": {
			sql: bare + `create index on social."Post" (owner, thread, position nulls first)`, want: []string{posts},
		},
		"for_the_messages_and_not_an_invalid_one": {
			sql: bare + `create index posts on social."Post" (owner, thread, position); update pg_index set indisvalid = false where indexrelid = 'social.posts'::regclass`, want: []string{posts},
		},
		"for_a_partitioned_child_on_all_its_parts": {
			sql: `drop table social.files; create table social.files (thread uuid, owner bigint, position int) partition by hash (owner);
				create table social.files_0 partition of social.files for values with (modulus 1, remainder 0); create index on social.files_0 (thread, owner, position)`,
			want: []string{`children[1]: "social"."files" has no btree index that leads with "owner", "thread" and goes on with "position"`},
		},
		"for_the_conversations": {
			sql:  `alter table social.thread_members drop constraint thread_members_pkey; create index on social.thread_members (member)`,
			want: []string{`conversations: "social"."thread_members" has no btree index that leads with "member", "thread"`},
		},
		"for_the_conversations_in_the_columns_collation": {
			sql:  `alter table social.thread_members drop constraint thread_members_pkey; create index on social.thread_members (thread, member collate "POSIX")`,
			want: []string{`conversations: "social"."thread_members" has no btree index that leads with "member", "thread"`},
		},
		"for_a_range_child": {
			sql:  `alter table social.files drop constraint files_pkey, drop constraint files_owner_thread_position_fkey`,
			want: []string{`children[1]: "social"."files" has no btree index that leads with "owner", "thread" and goes on with "position"`},
		},
		"for_a_reference": {
			sql:  `drop index social.mentions_post_idx`,
			want: []string{`children[2]: "social"."mentions" has no btree index that leads with "post"`},
		},
		"for_a_foreign_key_once_where_it_is_the_childs_way_too": {
			sql:  `alter table social.likes drop constraint likes_pkey`,
			want: []string{`children[0]: "social"."likes" has no btree index that leads with "post_id"`},
		},
		"for_a_foreign_key_beside_the_range": {
			sql:  `alter table social.files add post bigint references social."Post"`,
			want: []string{`foreign key "files_post_fkey": "social"."files" has no btree index that leads with "post"`},
		},
		"for_a_foreign_key_to_the_conversations": {
			sql:  `alter table social.thread_members add id int unique; alter table social."Post" add member_id int references social.thread_members (id)`,
			want: []string{`foreign key "Post_member_id_fkey": "social"."Post" has no btree index that leads with "member_id"`},
		},
		"and_takes_other_orders_and_more_columns": {
			sql: bare + `create index on social."Post" (thread desc, owner nulls first, position desc, body);
				alter table social.thread_members drop constraint thread_members_pkey; create index on social.thread_members (member text_pattern_ops, thread)`,
		},
	}
	n := 0
	for name, c := range cases {
		n++
		schemaName := fmt.Sprint("i", n)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := c.run(t, pool, schemaName)
			if err == nil {
				return
			}
			allowed := c
			allowed.sql, allowed.want, allowed.warned, allowed.allow = strings.ReplaceAll(c.sql, "social", schemaName+"x"), nil, []string{"create index"}, true
			allowed.run(t, pool, schemaName+"x")
			for _, m := range mend.FindAllStringSubmatch(err.Error(), -1) {
				execSQL(t, pool, m[1])
			}
			c.sql, c.want = "", nil
			plan, _ := ParsePlan([]byte(strings.ReplaceAll(socialPlan, "social", schemaName)))
			if _, err := resolve(t.Context(), pool, plan, false); err != nil {
				t.Errorf("after what the error said to run: %v", err)
			}
		})
	}
}

func TestResolveTellsWhatMayHeal(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		before, cause string
		want          []string
	}{
		"without_the_ledger": {`drop schema lethe cascade`, "configuration", []string{`there is no table "lethe"."commands"; run: worker setup`}},
		"without_any_grant": {"", "permission", []string{
			`may not use schema "social"; run: grant usage on schema "social" to`,
			`may not select, update, delete on "social"."Post"; run: grant select, update, delete on "social"."Post" to`,
			`grant select, update, delete on "social"."thread_members"`, `grant select, update, delete on "social"."likes"`,
			`grant select, update, delete on "social"."files"`, `grant select, update, delete on "social"."mentions"`,
			`grant usage on schema "lethe"`, `grant select, insert, delete on "lethe"."commands"`,
			`grant select, insert, update, delete on "lethe"."deletions"`, `grant select on "lethe"."apps"`,
		}},
		"without_the_right_to_set_unread": {
			`grant usage on schema social, lethe to worker; grant all on all tables in schema social, lethe to worker; revoke update on social.thread_members from worker;
			grant update (thread) on social.thread_members to worker`,
			"permission", []string{`may not update "unseen" of "social"."thread_members"; run: grant update ("unseen") on "social"."thread_members" to`},
		},
		"with_row_level_security": {
			`grant usage on schema social, lethe to worker; grant all on all tables in schema social, lethe to worker; alter table social.files enable row level security`,
			"permission", []string{`row-level security hides rows of "social"."files" from`},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := localtest.Database(t)
			if _, err := Setup(t.Context(), url, SetupOptions{}); err != nil {
				t.Fatal(err)
			}
			admin := openPool(t, url)
			role, as := newRole(t, url)
			execSQL(t, admin, socialTables+strings.ReplaceAll(c.before, "worker", role))
			if c.cause == "configuration" {
				as = url
			}
			plan, _ := ParsePlan([]byte(socialPlan))
			_, err := Open(t.Context(), Config{URL: as, Plan: plan})
			if fault, cause := purge.FaultOf(err); fault != purge.Surroundings || cause != c.cause {
				t.Errorf("the error is %v, %s; want surroundings, %s", fault, cause, c.cause)
			}
			compareLines(t, "error", lines(err), c.want)
			if c.cause == "configuration" {
				return
			}
			for _, m := range mend.FindAllStringSubmatch(err.Error(), -1) {
				execSQL(t, admin, m[1])
			}
			r, err := Open(t.Context(), Config{URL: as, Plan: plan})
			if err != nil {
				t.Fatalf("after what the error said to run: %v", err)
			}
			defer r.Close()
			fillSocial(t, &Repo{pool: admin}, 20, 7)
			if rec := carryOut(t, r, removal("c1", nil), 7); rec.State != purge.Done || rec.MessagesDeleted != 20 {
				t.Errorf("record = %+v; want 20 messages deleted", rec)
			}
		})
	}
}

func TestOpenAsksForGrantsThatAreEnough(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	admin := openPool(t, url)
	_, as := newRole(t, url)
	_, err := Open(t.Context(), Config{URL: as, Plan: BundledPlan()})
	for _, m := range mend.FindAllStringSubmatch(fmt.Sprint(err), -1) {
		execSQL(t, admin, m[1])
	}
	fillChat(t, &Repo{pool: admin}, "c", 30)
	r := openRepo(t, Config{URL: as, Plan: BundledPlan()})
	if err := r.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	for _, skip := range []bool{false, true} {
		express(t, r, purge.Batch{Deletions: []purge.Deletion{deletion(fmt.Sprint(skip), "d")}, SkipLocked: skip})
	}
	if rec := carryOut(t, r, deletion("c", "c"), 7); rec.State != purge.Done || rec.MessagesDeleted != 30 {
		t.Errorf("record = %+v; want 30 messages deleted", rec)
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	t.Run("tells_a_plan_that_does_not_fit_from_what_may_heal", func(t *testing.T) {
		t.Parallel()
		url := localtest.Database(t)
		_, err := Open(t.Context(), Config{URL: url, Plan: BundledPlan()}) // neither chat nor lethe is there
		if fault, cause := purge.FaultOf(err); fault != purge.Own || cause != "plan" || len(lines(err)) != 5 {
			t.Errorf("Open = %v (%v, %s); want own, plan, five lines", err, fault, cause)
		}
	})
	t.Run("refuses_the_zero_plan", func(t *testing.T) {
		t.Parallel()
		_, err := Open(t.Context(), Config{URL: localtest.Database(t)})
		if fault, cause := purge.FaultOf(err); fault != purge.Own || cause != "plan" {
			t.Errorf("Open = %v (%v, %s); want own, plan", err, fault, cause)
		}
	})
	t.Run("calls_a_server_that_is_away_surroundings", func(t *testing.T) {
		t.Parallel()
		_, err := Open(t.Context(), Config{URL: "postgres://127.0.0.1:1/none?connect_timeout=1", Plan: BundledPlan()})
		if fault, cause := purge.FaultOf(err); fault != purge.Surroundings || cause != "connection" {
			t.Errorf("Open = %v (%v, %s); want surroundings, connection", err, fault, cause)
		}
	})
	t.Run("says_that_it_was_stopped", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := Open(ctx, Config{URL: localtest.Database(t), Plan: BundledPlan()})
		if fault, _ := purge.FaultOf(err); fault != purge.Stopping {
			t.Errorf("Open = %v (%v); want stopping", err, fault)
		}
	})
	t.Run("keeps_warnings", func(t *testing.T) {
		t.Parallel()
		url := newDatabase(t)
		execSQL(t, openPool(t, url), `alter table chat.reactions drop constraint reactions_pkey`)
		r := openRepo(t, Config{URL: url, Plan: BundledPlan(), AllowUnindexed: true})
		compareLines(t, "warnings", r.Warnings(), []string{`"chat"."reactions" has no btree index`})
	})
	t.Run("has_nothing_to_say_of_the_bundled_schema", func(t *testing.T) {
		t.Parallel()
		r := newRepo(t)
		if r.Warnings() != nil || r.schema.Locked || r.schema.bounds != nil {
			t.Errorf("warnings %q, locked %t, bounds %v; want none", r.Warnings(), r.schema.Locked, r.schema.bounds)
		}
	})
}
