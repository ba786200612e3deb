package repo

import (
	"fmt"
	"testing"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// partitionedTables replaces the bundled tables by ones of the same columns in
// eight parts. Rows of different parts have the same ctid, which makes them each
// other's victims where a statement goes by the ctid alone.
const partitionedTables = `
do $$
declare t text; i int;
begin
	foreach t in array array['messages', 'reactions', 'attachments', 'conversations'] loop
		execute format('alter table chat.%I rename to %I', t, t || '_old');
		execute format('create table chat.%I (like chat.%I including defaults, primary key (%s)) partition by hash (user_id)', t, t || '_old',
			'app_id, user_id, conversation_id' || case t when 'conversations' then '' when 'messages' then ', seq' when 'reactions' then ', seq, reactor_id, emoji' else ', seq, attachment_id' end);
		for i in 0..7 loop
			execute format('create table chat.%I partition of chat.%I for values with (modulus 8, remainder %s)', t || '_' || i, t, i);
		end loop;
	end loop;
end $$`

func TestPartitionedTables(t *testing.T) {
	t.Parallel()
	for _, b := range []purge.Batch{
		{Budget: purge.Budget{PerDeletion: 1000, Rows: 1000}},
		{Budget: purge.Budget{PerDeletion: 1000, Rows: 1000}, SkipLocked: true},
		{Budget: purge.Budget{PerDeletion: 7, Rows: 7}},
		{Budget: purge.Budget{PerDeletion: 7, Rows: 7}, SkipLocked: true},
	} {
		t.Run(fmt.Sprintf("lose_one_users_rows_alone_%d_at_a_time_skipping_locked_%t", b.Budget.Rows, b.SkipLocked), func(t *testing.T) {
			t.Parallel()
			url := newDatabase(t)
			execSQL(t, openPool(t, url), partitionedTables)
			r := openRepo(t, Config{URL: url, Plan: plan.Bundled()})
			users := []string{"alice", "bob", "carol", "dave", "erin", "frank"}
			for _, u := range users {
				execSQL(t, r.pool, `insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at)
					select 'demo', $1, 'group', i, now() - interval '1 hour' from generate_series(1, 40) i`, u)
				execSQL(t, r.pool, `insert into chat.reactions (app_id, user_id, conversation_id, seq, reactor_id, emoji)
					select 'demo', $1, 'group', i, 'bob', '+1' from generate_series(1, 40, 2) i`, u)
				execSQL(t, r.pool, `insert into chat.conversations (app_id, user_id, conversation_id) values ('demo', $1, 'group')`, u)
			}
			d := deletion("c1", "group")
			b.Deletions = []purge.Deletion{d}
			res, err := r.Bulk(t.Context(), b)
			if err != nil {
				t.Fatal(err)
			}
			if rec := res.Records[0]; rec.State != purge.Done {
				carryOut(t, r, d, b.Budget.Rows)
			}
			for _, u := range users {
				want := "40 messages, 20 reactions, 1 rows"
				if u == "alice" {
					want = "0 messages, 0 reactions, 0 rows"
				}
				got := queryOne[string](t, r.pool, `select format('%s messages, %s reactions, %s rows',
					(select count(*) from chat.messages where user_id = $1), (select count(*) from chat.reactions where user_id = $1),
					(select count(*) from chat.conversations where user_id = $1))`, u)
				if got != want {
					t.Errorf("%s has %s; want %s", u, got, want)
				}
			}
		})
	}
}
