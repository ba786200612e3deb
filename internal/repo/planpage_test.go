package repo

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// pageBlocks are the blocks of code of a kind in the reference of the plan.
func pageBlocks(t *testing.T, kind string) (all []string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/plan.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?ms)^```"+kind+"\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		all = append(all, m[1])
	}
	if len(all) == 0 {
		t.Fatalf("docs/plan.md has no block %s", kind)
	}
	return all
}

// topLevel matches a part of a plan: a field and what is below it.
var topLevel = regexp.MustCompile(`(?m)^([a-z]+):.*\n(?:[ #\n].*\n|\n)*`)

func TestEveryPlanOfThePageIsOne(t *testing.T) {
	t.Parallel()
	wholes := pageBlocks(t, "yaml whole")
	for _, text := range wholes {
		if _, err := plan.Parse([]byte(text)); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
	for _, part := range pageBlocks(t, "yaml part") {
		text := wholes[0]
		for _, m := range topLevel.FindAllStringSubmatch(part, -1) {
			replaced := false
			text = topLevel.ReplaceAllStringFunc(text, func(old string) string {
				if !strings.HasPrefix(old, m[1]+":") {
					return old
				}
				replaced = true
				return m[0]
			})
			if !replaced {
				t.Errorf("%s stands alone", m[1])
			}
		}
		if _, err := plan.Parse([]byte(text)); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
}

// pageRows are two owners' messages in two threads, every minute up to an hour ago, and three newer ones of alice; files that one,
// two or both owners refer to, and what belongs to all of them.
const pageRows = `
insert into people values (1, 'alice'), (2, 'bob');
insert into messages select o * 1000 + t * 100 + i, o, 'thread ' || t, (extract(epoch from now() - interval '2 hours') * 1000)::bigint + i * 60000, 'text'
from generate_series(1, 2) o, generate_series(1, 2) t, generate_series(1, 20) i;
insert into messages select id + 50, owner_id, thread_id, sent_ms + 6000000, body from messages where owner_id = 1 and thread_id = 'thread 1' and id % 100 <= $1;
insert into threads select owner_id, thread_id, 9, count(*), max(id) from messages group by 1, 2;
insert into reactions select id, e from messages, unnest(array['a', 'b']) e where id % 3 = 0;
insert into files select id, 'file' from generate_series(1, 20) id;
insert into attachments select m.id * 10 + k, m.id, 1 + (m.id * 7 + k * 5) % 20 from messages m, generate_series(0, 1) k where m.id % 4 = 0;
insert into files values (21, 'alice''s alone'), (22, 'nobody''s');
insert into attachments select 200000, min(id), 21 from messages where owner_id = 1 and thread_id = 'thread 1';
insert into previews select id, '\x00' from attachments where id % 2 = 0;
insert into pins select id, 'pin', id from messages where id % 5 = 0;`

// pageTables is what is left, for a comparison.
const pageTables = `select concat_ws(E'\n', (select string_agg(m::text, ' ' order by m.id) from messages m), (select string_agg(t::text, ' ' order by t::text) from threads t),
	(select string_agg(r::text, ' ' order by r::text) from reactions r), (select string_agg(f::text, ' ' order by f.id) from files f), (select string_agg(a::text, ' ' order by a.id) from attachments a),
	(select string_agg(p::text, ' ' order by p.attachment_id) from previews p), (select string_agg(p::text, ' ' order by p.id) from pins p))`

// pageFiles are the files' paths, and those that the trigger has kept.
const pageFiles = `select string_agg(path, ' ' order by path) from (select path from files union all select path from files_to_delete) f`

// The SQL of the page does what a deletion does.
func TestTheSQLOfThePageIsWhatADeletionDoes(t *testing.T) {
	t.Parallel()
	for _, newer := range []int{0, 3} {
		t.Run(fmt.Sprint(newer, "_newer_messages"), func(t *testing.T) {
			t.Parallel()
			url := newLedger(t)
			pool, err := pgxpool.New(t.Context(), url) // whose search path finds public
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(pool.Close)
			execSQL(t, pool, pageBlocks(t, "sql tables")[0]+pageBlocks(t, "sql objects")[0]+strings.ReplaceAll(pageRows, "$1", fmt.Sprint(newer)))
			p, err := plan.Parse([]byte(pageBlocks(t, "yaml whole")[0]))
			if err != nil {
				t.Fatal(err)
			}
			r := openRepo(t, Config{URL: url, Plan: p})
			if w := r.Warnings(); len(w) > 0 {
				t.Errorf("warnings = %q; want none", w)
			}
			files := queryOne[string](t, pool, pageFiles)
			asked := time.Now().Add(-30 * time.Minute)
			var want string
			err = pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
				for sql := range strings.SplitSeq(pageBlocks(t, "sql deletion")[0], ";\n") {
					sql = strings.NewReplacer(":user", "'alice'", ":conversation", "'thread 1'", ":requested_ms", fmt.Sprint(asked.UnixMilli())).Replace(sql)
					if _, err := tx.Exec(t.Context(), sql); err != nil {
						return fmt.Errorf("%s: %w", sql, err)
					}
				}
				if err := tx.QueryRow(t.Context(), pageTables).Scan(&want); err != nil {
					return err
				}
				return tx.Rollback(t.Context())
			})
			if err != nil && err != pgx.ErrTxClosed { //nolint:errorlint // it is this one
				t.Fatal(err)
			}
			d := purge.Deletion{
				Key: purge.Key{App: "demo", Command: "c", User: "alice", Conversation: "thread 1"}, StoredAt: asked, Token: tokens(),
				Digest: purge.DigestOf(purge.Content{User: "alice", Targets: []purge.Target{{Conversation: "thread 1"}}}),
			}
			if rec, _ := stepThrough(t, r, d, 7); rec.State != purge.Done || rec.MessagesDeleted != 20 || rec.ConversationRemoved != (newer == 0) {
				t.Errorf("record = %+v; want done with 20 messages", rec)
			}
			if got := queryOne[string](t, pool, pageTables); got != want {
				t.Errorf("a deletion leaves\n%s\nand the page's SQL\n%s", got, want)
			}
			if got := queryOne[string](t, pool, pageFiles); got != files || queryOne[int](t, pool, `select count(*) from files_to_delete`) == 0 {
				t.Errorf("with those to delete the files are\n%s\nwant all of\n%s", got, files)
			}
		})
	}
}
