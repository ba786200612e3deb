package repo

import (
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// socialTables and socialPlan are tables that look nothing like the bundled ones, and their plan.
var socialTables, socialPlan = planFile("social.sql"), planFile("social.yaml")

// planFile is a file of the plan checks' tests.
func planFile(name string) string {
	text, err := os.ReadFile("../plan/testdata/" + name)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// thread is the conversation of these tests, as Postgres writes it.
const thread = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"

// newSocial is a Repo on a fresh database with the ledger and the social schema,
// which more may change.
func newSocial(tb testing.TB, more ...string) *Repo {
	tb.Helper()
	return newSocialWith(tb, nil, more...)
}

// newSocialWith is newSocial with a plan that edit, if not nil, has changed.
func newSocialWith(tb testing.TB, edit func(*plan.Plan), more ...string) *Repo {
	tb.Helper()
	url := newLedger(tb)
	execSQL(tb, openPool(tb, url), socialTables+strings.Join(more, ""))
	p, err := plan.Parse([]byte(socialPlan))
	if err != nil {
		tb.Fatal(err)
	}
	if edit != nil {
		edit(&p)
	}
	return openRepo(tb, Config{URL: url, Plan: p})
}

// fillSocial gives each of the owners n posts in the thread, two likes and a file
// on each third of them, a mention on each fourth, and a row with 9 unseen. Posts
// are a minute apart, the last one an hour old.
func fillSocial(tb testing.TB, r *Repo, n int, owners ...int64) {
	tb.Helper()
	for _, owner := range owners {
		execSQL(tb, r.pool, `insert into social."Post" (owner, thread, position, "sent.at")
			select $1, $2, i, (now() at time zone 'UTC') - interval '1 hour' - ($3::int - i) * interval '1 minute'
			from generate_series(1, $3::int) i`, owner, thread, n)
		execSQL(tb, r.pool, `insert into social.thread_members (member, thread, unseen) values ($1::text, $2, 9)
			on conflict (thread, member) do update set unseen = 9`, fmt.Sprint(owner), thread)
	}
	execSQL(tb, r.pool, `insert into social.likes select id, liker from social."Post", (values ('x'), ('y')) l (liker) where position % 3 = 0`)
	execSQL(tb, r.pool, `insert into social.files select thread, owner, position, 'f' from social."Post" where position % 3 = 0`)
	execSQL(tb, r.pool, `insert into social.mentions (post, who) select id, 'x' from social."Post" where position % 4 = 0`)
}

// socialLeft counts what an owner has left. What has lost its message belongs to
// nobody and is counted as orphans.
func socialLeft(tb testing.TB, r *Repo, owner int64) string {
	tb.Helper()
	return queryOne[string](tb, r.pool, `select format('%s posts, %s likes, %s files, %s mentions, %s rows, %s orphans',
		(select count(*) from social."Post" where owner = $1),
		(select count(*) from social.likes join social."Post" on id = post_id where owner = $1),
		(select count(*) from social.files where owner = $1),
		(select count(*) from social.mentions m join social."Post" p on p.id = m.post where owner = $1),
		(select count(*) from social.thread_members where member = $1::text),
		(select count(*) from social.mentions m where not exists (select from social."Post" p where p.id = m.post)))`, owner)
}

// removal is a deletion of the thread by owner 7, with the id in upper case.
func removal(command string, through *int64) purge.Deletion {
	id := strings.ToUpper(thread)
	return purge.Deletion{
		Key: purge.Key{App: "solo", Command: command, User: "7", Conversation: id}, ThroughSeq: through, StoredAt: time.Now(), Token: tokens(),
		Digest: purge.DigestOf(purge.Content{User: "7", Targets: []purge.Target{{Conversation: id, ThroughSeq: through}}}),
	}
}

// carryOut takes a deletion to its end as the worker does: the express lane
// first, then batches of at most limit. What is only contention is tried again.
func carryOut(tb testing.TB, r *Repo, d purge.Deletion, limit int) purge.Record {
	tb.Helper()
	again := func(try func() error) {
		for {
			err := try()
			if fault, _ := purge.FaultOf(err); err == nil || fault != purge.Contention {
				if err != nil {
					tb.Fatal(err)
				}
				return
			}
		}
	}
	var rec purge.Record
	for finished := false; r.Single() && !finished; {
		again(func() error {
			step, err := r.Step(tb.Context(), d, purge.Part{Claim: true, Finish: true, Limit: limit})
			rec, finished = step.Record, step.Finished
			return err
		})
	}
	if r.Single() {
		return rec
	}
	again(func() error {
		res, err := r.Bulk(tb.Context(), purge.Batch{Deletions: []purge.Deletion{d}, Budget: purge.Budget{PerDeletion: limit, Rows: limit}})
		if err == nil {
			rec = res.Records[0]
		}
		return err
	})
	for rec.State == purge.Running {
		var step purge.Step
		low := rec.CursorSeq
		if low == 0 { // as a worker that claims begins
			low = math.MinInt64
		}
		for ; !step.Empty; low = step.Low {
			again(func() (err error) {
				step, err = r.Step(tb.Context(), d, purge.Part{Low: low, Limit: limit})
				return err
			})
			if !step.Record.Mine {
				tb.Fatal("the lease was lost")
			}
		}
		again(func() (err error) { rec, err = r.Finish(tb.Context(), d); return err })
	}
	return rec
}
