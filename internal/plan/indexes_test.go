package plan

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	bareTables = `alter table social.files drop constraint files_owner_thread_position_fkey; alter table social."Post" drop constraint "Post_thread_owner_position_key", add unique (position);`
	wantPosts  = `messages: "social"."Post" has no btree index that leads with "owner", "thread" and goes on with "position"`
)

var indexCases = map[string]planCheck{
	"for_the_messages":                       {sql: bareTables, want: []string{wantPosts}},
	"for_the_messages_and_not_a_partial_one": {sql: bareTables + `create index on social."Post" (owner, thread, position) where body <> ''`, want: []string{wantPosts}},
	"for_the_messages_and_not_seq_first":     {sql: bareTables + `create index on social."Post" (position, owner, thread)`, want: []string{wantPosts}},
	"for_the_messages_and_nothing_between":   {sql: bareTables + `create index on social."Post" (owner, thread, id, position)`, want: []string{wantPosts}},
	"for_the_messages_and_not_a_hash":        {sql: bareTables + `create index on social."Post" using hash (owner)`, want: []string{wantPosts}},
	"for_the_messages_and_no_expression":     {sql: bareTables + `create index on social."Post" (abs(owner), thread, position)`, want: []string{wantPosts}},
	"for_the_messages_and_not_seq_included":  {sql: bareTables + `create index on social."Post" (owner, thread) include (position)`, want: []string{wantPosts}},
	"for_the_messages_and_nulls_where_they_belong": {
		sql: bareTables + `create index on social."Post" (owner, thread, position nulls first)`, want: []string{wantPosts},
	},
	"for_the_messages_and_not_an_invalid_one": {
		sql: bareTables + `create index posts on social."Post" (owner, thread, position); update pg_index set indisvalid = false where indexrelid = 'social.posts'::regclass`, want: []string{wantPosts},
	},
	"for_a_partitioned_child_on_all_its_parts": {
		sql: `drop table social.files; create table social.files (thread uuid, owner bigint, position int not null) partition by hash (owner);
			create table social.files_0 partition of social.files for values with (modulus 1, remainder 0); create index on social.files_0 (thread, owner, position)`,
		want: []string{`children[1]: "social"."files" has no btree index that leads with "owner", "thread" and goes on with "position"`},
	},
	"for_the_conversations": {
		warned: []string{`conversations: several rows of "`},
		sql:    `alter table social.thread_members drop constraint thread_members_pkey; create index on social.thread_members (member)`,
		want:   []string{`conversations: "social"."thread_members" has no btree index that leads with "member", "thread"`},
	},
	"for_the_conversations_in_the_columns_collation": {
		warned: []string{`conversations: several rows of "`},
		sql:    `alter table social.thread_members drop constraint thread_members_pkey; create index on social.thread_members (thread, member collate "POSIX")`,
		want:   []string{`conversations: "social"."thread_members" has no btree index that leads with "member", "thread"`},
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
		sql: bareTables + `create index on social."Post" (thread desc, owner nulls first, position desc, body);
			alter table social.thread_members drop constraint thread_members_pkey; create unique index on social.thread_members (member text_pattern_ops, thread)`,
	},
}

func TestResolveWantsIndexes(t *testing.T) {
	t.Parallel()
	runAll(t, indexCases, func(t *testing.T, c planCheck, pool *pgxpool.Pool, schemaName string) {
		t.Helper()
		_, err := c.run(t, pool, schemaName)
		if err == nil {
			return
		}
		allowed := schemaName + "_allowed"
		c.want, c.warned, c.allow = nil, append(slices.Clone(c.warned), "create index"), true
		if _, err := c.run(t, pool, allowed); err != nil {
			t.Fatal(err)
		}
		for _, m := range mend.FindAllStringSubmatch(err.Error(), -1) {
			execSQL(t, pool, m[1])
		}
		plan, _ := Parse([]byte(strings.ReplaceAll(socialPlan, "social", schemaName)))
		if _, err := Check(t.Context(), pool, plan, Options{}); err != nil {
			t.Errorf("after what the error said to run: %v", err)
		}
	})
}
