package plan

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	nullable = `alter table social."Post" alter position drop not null;`
	nullSeq  = `messages.seq: column "position" of "social"."Post" may be null, and a row without a position is on no side of a boundary; run: alter table "social"."Post" alter column "position" set not null`
	keepsRow = `create function social.keep() returns trigger language plpgsql as $$ begin return null; end $$;`
	kept     = `fires before each row is deleted: a deletion whose rows it keeps`
	// A parent whose rows are in tables that inherit from it, as before partitions.
	heir = `create table social.old_posts (unique (owner, thread, position)) inherits (social."Post");`
	// Mentions in four parts, with an index each.
	partedMentions = `drop table social.mentions; create table social.mentions (id int, post int not null, who text) partition by hash (id); create index on social.mentions (post);
		create table social.m0 partition of social.mentions for values with (modulus 4, remainder 0); create table social.m1 partition of social.mentions for values with (modulus 4, remainder 1);
		create table social.m2 partition of social.mentions for values with (modulus 4, remainder 2); create table social.m3 partition of social.mentions for values with (modulus 4, remainder 3);`
	// The owner's messages are published, and nothing names a row.
	published = `alter table social.mentions drop constraint mentions_pkey; alter table social.mentions replica identity nothing; create publication social_p for table social.mentions;`
)

// What the catalog shows of tables in which rows stay, or rows of others are deleted.
// An error's statement is run, and then the plan must be accepted.
var tableCases = map[string]planCheck{
	"a_position_that_may_be_null":                     {sql: nullable, want: []string{nullSeq}},
	"a_position_with_a_check_not_valid":               {sql: nullable + `alter table social."Post" add check (position is not null) not valid`, want: []string{nullSeq}},
	"a_position_with_a_check_that_null_passes":        {sql: nullable + `alter table social."Post" add check (position > 0)`, want: []string{nullSeq}},
	"a_position_with_a_valid_check":                   {sql: nullable + `alter table social."Post" add check (position is not null)`},
	"a_position_of_a_domain_without_null":             {sql: nullable + `create domain social.place as int not null; alter table social."Post" alter position type social.place`},
	"a_childs_position_that_may_be_null":              {sql: unfiled + `alter table social.files drop constraint files_pkey, alter position drop not null; create index on social.files (owner, thread, position)`, want: []string{`children[1].seq: column "position"`}},
	"a_time_that_may_be_null":                         {sql: `alter table social."Post" alter "sent.at" drop not null`, want: []string{`messages.sent_at: column "sent.at" of "social"."Post" may be null`}},
	"a_time_that_may_be_null_and_has_a_default":       {sql: `alter table social."Post" alter "sent.at" drop not null, alter "sent.at" set default now()`, warned: []string{`messages.sent_at: column "sent.at" of "social"."Post" may be null: without through_seq`, `is read as UTC`}},
	"ids_that_may_be_null_are_nobodys":                {sql: `alter table social."Post" alter owner drop not null, alter thread drop not null`},
	"a_reference_that_may_be_null_is_to_no_message":   {sql: `alter table social.mentions alter post drop not null`},
	"a_table_that_inherits_without_the_index":         {sql: unbound + strings.Replace(heir, "unique (owner, thread, position)", "", 1), edit: rangeOnly, want: []string{`"social"."old_posts" has no btree index that leads with "owner", "thread" and goes on with "position"`}},
	"a_reference_to_a_table_that_others_inherit_from": {sql: heir, want: []string{`children[0].references.to: nothing keeps two rows`, `children[2].references.to: nothing keeps two rows`}},
	"a_disabled_rule":                                 {sql: `create rule keep as on delete to social.mentions do instead nothing; alter table social.mentions disable rule keep`},
	"a_partition_that_is_a_foreign_table": {
		sql: `drop table social.mentions; create table social.mentions (id int, post int not null, who text) partition by list (who); create index on social.mentions (post);
			create foreign data wrapper social_w; create server social_s foreign data wrapper social_w; create foreign table social.far partition of social.mentions default server social_s`,
		want: []string{`children[2].table: "social"."far", a part of "social"."mentions", is a foreign table`},
	},

	"a_trigger_that_may_keep_rows":   {sql: keepsRow + `create trigger k before delete on social.mentions for each row execute function social.keep()`, warned: []string{`children[2]: trigger "k" of "social"."mentions", with function social.keep, ` + kept}},
	"a_trigger_that_always_fires":    {sql: keepsRow + `create trigger k before insert or delete on social.mentions for each row execute function social.keep(); alter table social.mentions enable always trigger k`, warned: []string{kept}},
	"a_disabled_trigger":             {sql: keepsRow + `create trigger k before delete on social.mentions for each row execute function social.keep(); alter table social.mentions disable trigger k`},
	"a_trigger_of_replicas":          {sql: keepsRow + `create trigger k before delete on social.mentions for each row execute function social.keep(); alter table social.mentions enable replica trigger k`},
	"triggers_that_can_keep_nothing": {sql: keepsRow + `create trigger a after delete on social.mentions for each row execute function social.keep(); create trigger s before delete on social.mentions execute function social.keep(); create trigger u before update on social.mentions for each row execute function social.keep()`},
	"a_trigger_of_all_parts_once": {
		sql: keepsRow + `drop table social.mentions; create table social.mentions (id int, post int not null, who text) partition by hash (id); create index on social.mentions (post);
			create table social.m0 partition of social.mentions for values with (modulus 2, remainder 0); create table social.m1 partition of social.mentions for values with (modulus 2, remainder 1);
			create trigger k before delete on social.mentions for each row execute function social.keep(); create trigger own before delete on social.m1 for each row execute function social.keep()`,
		warned: []string{`trigger "k" of "social"."m0" and 1 more part of "social"."mentions", with function social.keep`, `trigger "own" of "social"."m1", with`},
	},

	"a_publication_and_nothing_that_names_a_row": {sql: published, want: []string{`publication "social_p" publishes deletes from "social"."mentions", which has no replica identity, so the server refuses to delete there; run: alter table "social"."mentions" replica identity full`}},
	"a_publication_and_a_key_that_would_do":      {sql: published + `alter table social.mentions replica identity default, alter id set not null; create unique index mid on social.mentions (id)`, want: []string{`run: alter table "social"."mentions" replica identity using index "mid"`}},
	"a_publication_and_a_deferrable_key":         {sql: published + `alter table social.mentions replica identity default, add primary key (id) deferrable`, want: []string{`run: alter table "social"."mentions" replica identity full`}},
	"a_publication_of_inserts":                   {sql: published + `alter publication social_p set (publish = 'insert, truncate')`},
	"a_publication_of_updates_of_messages":       {sql: published + `alter publication social_p set (publish = 'update')`},
	"a_publication_of_updates_of_unread":         {sql: `create publication social_p for table social.thread_members with (publish = 'update'); alter table social.thread_members replica identity nothing`, want: []string{`run: alter table "social"."thread_members" replica identity full`}},
	"a_publication_and_a_primary_key":            {sql: `create publication social_p for table social.mentions`},
	"a_publication_and_an_unlogged_table":        {sql: `alter table social.mentions set unlogged; ` + strings.Replace(published, "create publication social_p for table social.mentions;", "", 1)},
	"a_publication_of_the_schema":                {sql: strings.Replace(published, "for table social.mentions", "for tables in schema social", 1), needs: 15, want: []string{`run: alter table "social"."mentions" replica identity full`}},
	"a_publication_of_a_partitioned_table_by_each_part": {
		sql: `drop table social.mentions; create table social.mentions (id int, post int not null, who text) partition by hash (id); create index on social.mentions (post);
			create table social.m0 partition of social.mentions for values with (modulus 2, remainder 0); create table social.m1 partition of social.mentions for values with (modulus 2, remainder 1);
			alter table social.m1 replica identity full; create publication social_p for table social.mentions`,
		want: []string{`"social"."m0", which has no replica identity, so the server refuses to delete there; run: alter table "social"."m0" replica identity full`},
	},

	"parts_that_all_fit_into_the_lock_table": {sql: partedMentions},
	"parts_that_take_more_locks_than_there_are": { // nine tables and ten indexes
		sql: partedMentions, connections: 100_000,
		warned: []string{`each transaction locks up to 19 relations (tables and indexes; "social"."mentions" has 4 parts), over 100,000 connections 1900000; the server has room for `},
	},
	"a_time_of_whole_seconds": {
		sql:    `alter table social."Post" alter "sent.at" type timestamptz(0)`,
		warned: []string{`messages.sent_at: column "sent.at" of "social"."Post" keeps times to 1s only (timestamp(0) with time zone): without through_seq a command spares messages of the last 1s before it`},
	},
	"a_default_of_whole_seconds": {
		sql:    `alter table social."Post" alter "sent.at" set default date_trunc('second', now() at time zone 'UTC')`,
		warned: []string{`keeps times to 1s only (timestamp without time zone default date_trunc('second'::text,`},
	},
	"milliseconds_are_not_coarse": {sql: `alter table social."Post" alter "sent.at" type timestamp(3), alter "sent.at" set default now()`, warned: []string{`is read as UTC`}},
}

func TestResolveChecksWhatAffectsDeletes(t *testing.T) {
	t.Parallel()
	runAll(t, tableCases, func(t *testing.T, c planCheck, pool *pgxpool.Pool, schemaName string) {
		t.Helper()
		c.sql = strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(c.sql, "social_p", schemaName+"_p"), "social_w", schemaName+"_w"), "social_s", schemaName+"_s")
		for i, w := range c.want {
			c.want[i] = strings.ReplaceAll(w, "social_p", schemaName+"_p")
		}
		for i, w := range c.warned {
			c.warned[i] = strings.ReplaceAll(strings.ReplaceAll(w, `"social"`, `"`+schemaName+`"`), "social.", schemaName+".")
		}
		_, err := c.run(t, pool, schemaName)
		statements := mend.FindAllStringSubmatch(strings.Join(errorLines(err), "\n"), -1)
		for _, m := range statements {
			execSQL(t, pool, m[1])
		}
		if len(statements) < len(c.want) {
			return // one has no statement that mends it
		}
		plan, _ := Parse([]byte(strings.ReplaceAll(socialPlan, "social", schemaName)))
		if c.edit != nil {
			c.edit(&plan)
		}
		if _, err := Check(t.Context(), pool, plan, Options{}); err != nil {
			t.Errorf("after what the error said to run: %v", err)
		}
	})
}
