package repo

import (
	"fmt"
	"math"
	"testing"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// A batch may begin below every position, and a boundary may lie above every one.
// Neither fits the narrower types.
func TestPositionsOfEveryIntegerType(t *testing.T) {
	t.Parallel()
	domain := `create domain social.place as smallint check (value > -9);`
	for _, typ := range []string{"smallint", "integer", "bigint", "social.place"} {
		for _, locked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s_locked_%t", typ, locked), func(t *testing.T) {
				t.Parallel()
				sql := domain + `alter table social.files drop constraint files_owner_thread_position_fkey; alter table social."Post" alter position type ` + typ + `; alter table social.files alter position type ` + typ
				edit := func(*plan.Plan) {}
				if !locked {
					sql += "; drop table social.likes, social.mentions"
					edit = func(p *plan.Plan) { p.Children = p.Children[1:2] } // what goes by the messages' own columns
				}
				r := newSocialWith(t, edit, sql)
				everyStatementUsesIndexes(t, r)
				execSQL(t, r.pool, `insert into social."Post" (owner, thread, position, "sent.at") select 7, $1, i, now() - interval '1 hour' from generate_series(-3, 20) i`, thread)
				execSQL(t, r.pool, `insert into social.files select thread, owner, position, 'f' from social."Post"`)
				d := removal("c", new(int64(math.MaxInt64)))
				budget := purge.Budget{PerDeletion: 2, Rows: 2}
				if _, err := r.Bulk(t.Context(), purge.Batch{Deletions: []purge.Deletion{d}, Budget: budget}); err != nil {
					t.Fatal(err)
				}
				var step purge.Step
				for low := int64(math.MinInt64); !step.Empty; low = step.Low {
					var err error
					if step, err = r.Step(t.Context(), d, purge.Part{Low: low, Limit: 7, MarkFrom: math.MinInt64, MarkTo: math.MaxInt64}); err != nil {
						t.Fatal(err)
					}
				}
				if err := r.Mark(t.Context(), d, math.MinInt64, math.MaxInt64); err != nil {
					t.Fatal(err)
				}
				rec, err := r.Finish(t.Context(), d)
				if err != nil || rec.State != purge.Done || rec.MessagesDeleted != 24 || rec.ThroughSeq != 20 {
					t.Fatalf("Finish = %+v, %v; want done with 24 messages through 20", rec, err)
				}
				if n := queryOne[int](t, r.pool, `select (select count(*) from social."Post") + (select count(*) from social.files)`); n != 0 {
					t.Errorf("%d rows are left", n)
				}
			})
		}
	}
}

// Where no message was sent by the time of the command, the boundary is below them all, and not 0.
func TestNewerMessagesStayWithNegativePositions(t *testing.T) {
	t.Parallel()
	r := newTags(t, tagPlan, `update h.posts set id = id - 1000, at = now() + interval '1 minute'`)
	d := ownersDeletion("1", "a", 0)
	d.ThroughSeq = nil
	if rec := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}}).Records[0]; rec.State != purge.Done || rec.ThroughSeq != -1000 || rec.MessagesDeleted != 0 {
		t.Errorf("record %+v; want done with nothing, through -1000", rec)
	}
	if got, want := tagsLeft(t, r), "2 threads, 6 posts, 6 tags, 4 notes, 5 files"; got != want {
		t.Errorf("left %s; want %s", got, want)
	}
}
