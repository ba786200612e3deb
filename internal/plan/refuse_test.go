package plan

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lethe-im/lethe/internal/purge"
)

var refuseCases = map[string]planCheck{
	"a_missing_table": {
		sql:  `drop table social.mentions`,
		want: []string{`children[2].table: there is no table "social"."mentions"; name one that exists`},
	},
	"a_table_that_the_search_path_does_not_find": {
		edit: func(p *Plan) { p.Conversations.Table = "thread_members" },
		want: []string{`conversations.table: there is no table "thread_members" on the search path ("$user", public); write schema.table`},
	},
	"a_table_in_another_case": {
		edit: func(p *Plan) { p.Messages.Table = strings.ToLower(p.Messages.Table) },
		want: []string{`there is no table "social"."post"; name one that exists, in just the case that it has`},
	},
	"missing_columns_each_with_a_line": {
		edit: func(p *Plan) {
			p.Messages.User, p.Messages.SentAt.Column, p.Conversations.Unread = "user", "at", "count"
			p.Children[0].References.Column, p.Children[1].Seq.Column = []string{"post"}, "seq"
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
		want: []string{`"social"."mentions" has a rule for update or delete ("keep"), which changes what the statements do; drop or disable it`},
	},
	"one_table_in_two_places": {
		edit: func(p *Plan) { p.Children = append(p.Children, p.Children[1]) },
		want: []string{`children[3]: table "social"."files" is named at children[1] already`},
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
	"a_position_of_text": {
		sql:  `alter table social."Post" add ts text not null`,
		edit: func(p *Plan) { p.Messages.Seq = Reading{Column: "ts"} },
		want: []string{
			`messages.seq: column "ts" of "social"."Post" is text; it must be smallint, integer, bigint, timestamp with time zone or timestamp; else add a generated column, ` +
				`for seconds with a fraction {column: ts_us, unit: us}; run: alter table "social"."Post" add "ts_us" bigint not null generated always as (("ts"::numeric * 1000000)::bigint) stored`,
			`children[1]: column "position" of "social"."files" refers to "position"`, `goes on with "ts"`,
		},
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
		edit: func(p *Plan) { p.Children[2].References.To = []string{"message_id"} },
		want: []string{`children[2].references.to: nothing keeps two rows of "social"."Post" from having the same "message_id", so that the deletion of one would remove child rows of the other`},
	},
	"a_reference_of_another_type": {
		sql:  `alter table social.mentions alter post type numeric`,
		want: []string{`children[2].references: column "post" of "social"."mentions" is numeric and "id" of "social"."Post" is bigint; both must be of one type and collation`},
	},
	"a_reference_that_is_to_a_childs_rows": {
		sql: `alter table social.likes add id int unique; create table social.like_notes (like_id int not null references social.likes (id)); create index on social.like_notes (like_id)`,
		edit: func(p *Plan) {
			p.Children = append([]Entry{{Table: strings.Replace(p.Children[1].Table, "files", "like_notes", 1), References: &Reference{Column: []string{"like_id"}, To: []string{"id"}}}}, p.Children...)
		},
		want: []string{`children[0]: column "like_id" of "social"."like_notes" refers to "id" of "social"."likes" by foreign key "like_notes_like_id_fkey", and not to "id" of "social"."Post": rows of others would be deleted; take it out of the plan, and don't drop the foreign key while it is there`},
	},
	"a_reference_that_is_to_another_table": {
		sql:  `create table social.events (id int primary key); alter table social.mentions add foreign key (post) references social.events`,
		want: []string{`children[2]: column "post" of "social"."mentions" refers to "id" of "social"."events" by foreign key "mentions_post_fkey", and not to "id" of "social"."Post"`},
	},
	"a_reference_that_is_to_another_column_of_the_messages": {
		sql:  `alter table social."Post" add number bigint unique; alter table social.mentions add foreign key (post) references social."Post" (number)`,
		want: []string{`children[2]: column "post" of "social"."mentions" refers to "number" of "social"."Post" by foreign key "mentions_post_fkey", and not to "id" of "social"."Post"`},
	},
	"a_childs_position_that_is_another_tables_key": {
		sql:  `create table social.pages (id int primary key); alter table social.files drop constraint files_owner_thread_position_fkey, add foreign key (position) references social.pages`,
		want: []string{`children[1]: column "position" of "social"."files" refers to "id" of "social"."pages" by foreign key "files_position_fkey", and not to "position" of "social"."Post"`},
	},
	"a_conversation_that_is_another_column_of_the_conversations": {
		sql:  `alter table social.thread_members add room uuid unique; alter table social."Post" add foreign key (thread) references social.thread_members (room); create index on social."Post" (thread)`,
		want: []string{`messages: column "thread" of "social"."Post" refers to "room" of "social"."thread_members" by foreign key "Post_thread_fkey", and not to "thread" of "social"."Post"`},
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
		sql:  `alter table social.mentions add origin bigint not null references social."Post"; create index on social.mentions (origin)`,
		want: []string{`foreign key "mentions_origin_fkey" of "social"."mentions" to "social"."Post" (on delete no action): the plan has no entry for it; if each of its rows is a part of what it refers to and may be deleted with it, add to children: {table: social.mentions, references: {column: origin, to: id}}; if not, run: alter table "social"."mentions" drop constraint "mentions_origin_fkey"`},
	},
	"a_pointer_to_a_message_that_is_no_reason_to_delete_its_row": {
		sql:  `alter table social.mentions add origin bigint references social."Post"; create index on social.mentions (origin)`,
		want: []string{`the plan has no entry for it; if its rows stay, and lose the reference, add to children: {table: social.mentions, references: {column: origin, to: id}, set: {origin: null}}; if each of them is a part of what it refers to, and is to be deleted with it, leave set out; else run: alter table "social"."mentions" drop constraint "mentions_origin_fkey"`},
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
	runAll(t, refuseCases, func(t *testing.T, c planCheck, pool *pgxpool.Pool, schemaName string) {
		t.Helper()
		_, err := c.run(t, pool, schemaName)
		if fault, cause := purge.FaultOf(err); fault != purge.Command || cause != "plan" {
			t.Errorf("the error is %v, %s; want own, plan", fault, cause)
		}
	})
}
