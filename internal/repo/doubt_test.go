package repo

import (
	"testing"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// Two rows of one conversation, as a table without a key may have them.
const twoRows = `alter table chat.conversations drop constraint conversations_pkey; create index on chat.conversations (app_id, user_id, conversation_id);
insert into chat.conversations (app_id, user_id, conversation_id, unread_count) values ('demo', 'alice', 'c', 40), ('demo', 'alice', 'c', 7)`

func TestAllRowsOfAConversationGoTogether(t *testing.T) {
	t.Parallel()
	through := int64(25)
	for name, c := range map[string]struct {
		batch   purge.Batch
		through *int64
		rows    string // what is left of alice's
	}{
		"express":                    {purge.Batch{}, nil, "0 rows"},
		"express_passing_over_locks": {purge.Batch{SkipLocked: true}, nil, "0 rows"},
		"long":                       {purge.Batch{Budget: purge.Budget{PerDeletion: 10, Rows: 10}}, nil, "0 rows"},
		"express_with_newer":         {purge.Batch{}, &through, "2 rows, unread 15, 7"},
		"long_with_newer":            {purge.Batch{Budget: purge.Budget{PerDeletion: 10, Rows: 10}}, &through, "2 rows, unread 15, 7"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := newDatabase(t)
			execSQL(t, openPool(t, url), twoRows)
			r := openRepo(t, Config{URL: url, Plan: plan.Bundled()})
			compareLines(t, "warnings", r.Warnings(), []string{`conversations: several rows of "chat"."conversations" may be of one conversation`})
			execSQL(t, r.pool, `insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at) select 'demo', 'alice', 'c', i, now() - interval '1 hour' from generate_series(1, 40) i`)
			d := deletion("1", "c")
			d.ThroughSeq = c.through
			c.batch.Deletions = []purge.Deletion{d}
			if c.batch.Budget == (purge.Budget{}) {
				c.batch.Budget = purge.Budget{PerDeletion: 1000, Rows: 1000}
			}
			res := bulk(t, r, c.batch)
			rec := res.Records[0]
			if rec.State != purge.Done {
				if rec = carryOut(t, r, d, 1000); rec.Doubt != "" {
					t.Errorf("doubt = %q; want none", rec.Doubt)
				}
			}
			if rec.State != purge.Done || rec.ConversationRemoved != (c.through == nil) {
				t.Errorf("record = %+v; want done, the conversation removed: %t", rec, c.through == nil)
			}
			got := queryOne[string](t, r.pool, `select count(*) || ' rows' || coalesce(', unread ' || string_agg(unread_count::text, ', ' order by unread_count desc), '') from chat.conversations`)
			if got != c.rows {
				t.Errorf("left %s; want %s", got, c.rows)
			}
		})
	}
}

func TestAReplayTakesAllRowsOfAConversation(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	execSQL(t, openPool(t, url), twoRows)
	r := openRepo(t, Config{URL: url, Plan: plan.Bundled()})
	execSQL(t, r.pool, `insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at) select 'demo', 'alice', 'c', i, now() - interval '1 hour' from generate_series(1, 40) i`)
	if n := redo(t, r.Replayer(), told("1", "c", 40, lately()), 7); n != 40 {
		t.Errorf("%d messages went; want 40", n)
	}
	if n := queryOne[int](t, r.pool, `select count(*) from chat.conversations`); n != 0 {
		t.Errorf("%d rows are left; want none", n)
	}
}

// The row says that there were messages, and none was found.
func TestADoubtfulDeletionSaysSo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sql   string
		known bool
		keep  bool
		doubt string
		none  bool // neither a message nor a row
	}{
		"unread_and_a_last_seq":        {`insert into chat.conversations (app_id, user_id, conversation_id, unread_count, last_seq) values ('demo', 'alice', 'c', 3, 20)`, false, false, "unread_count 3, last_seq 20", false},
		"a_last_seq_in_a_step":         {`insert into chat.conversations (app_id, user_id, conversation_id, last_seq) values ('demo', 'alice', 'c', 20)`, true, false, "last_seq 20", false},
		"nothing_of_the_kind":          {`insert into chat.conversations (app_id, user_id, conversation_id) values ('demo', 'alice', 'c')`, false, false, "", false},
		"a_history_that_is_to_be_kept": {`insert into chat.conversations (app_id, user_id, conversation_id, last_seq) values ('demo', 'alice', 'c', 20)`, false, true, "", false},
		"no_row":                       {``, false, false, "", true},
		"no_row_in_a_step":             {``, true, false, "", true},
		"no_row_but_messages":          {`insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at) values ('demo', 'alice', 'c', 20, now() - interval '1 hour')`, false, true, "", false},
		"messages_that_were_found": {`insert into chat.conversations (app_id, user_id, conversation_id, last_seq) values ('demo', 'alice', 'c', 20);
			insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at) values ('demo', 'alice', 'c', 20, now() - interval '1 hour')`, true, false, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRepo(t)
			if c.sql != "" {
				execSQL(t, r.pool, c.sql)
			}
			d := deletion("1", "c")
			d.KeepHistory = c.keep
			budget := purge.Budget{PerDeletion: 1000, Rows: 1000}
			res := purge.Result{}
			if c.known {
				res = steps(t, r, d)
			} else {
				res = bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}, Budget: budget})
			}
			if rec := res.Records[0]; rec.State != purge.Done || rec.Doubt != c.doubt || rec.Unknown != c.none {
				t.Errorf("record = %+v; want done with the doubt %q, unknown %t", rec, c.doubt, c.none)
			}
			res = bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}, Budget: budget})
			if rec := res.Records[0]; rec.State != purge.Done || rec.Doubt != "" || rec.Unknown {
				t.Errorf("the same again = %+v; want done and no doubt", rec)
			}
		})
	}
}
