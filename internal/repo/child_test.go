package repo

import (
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// noOrphans is what socialLeft says where everything has gone.
const noOrphans = "0 posts, 0 likes, 0 files, 0 mentions, 0 rows, 0 orphans"

// The writer of a child row holds its message, and commits while the deletion waits for that. No
// foreign key deletes the child row with its message, or keeps the message: it is found once the
// message is locked, and only then.
func TestAChildRowIsDeletedThoughNoForeignKeyTiesIt(t *testing.T) {
	t.Parallel()
	for name, schema := range map[string]string{
		"without_a_foreign_key": "",
		"with_on_delete_set_null": `alter table social.mentions alter post drop not null, alter post type bigint,
			add foreign key (post) references social."Post" on delete set null;`,
	} {
		for _, by := range []string{"bulk", "bulk_of_two", "step"} {
			t.Run(name+"/"+by, func(t *testing.T) {
				t.Parallel()
				cfg := newSocial(t, schema).cfg
				cfg.Target = 10 * time.Second
				r := openRepo(t, cfg)
				fillSocial(t, r, 20, 7)
				tx := begin(t, r)
				for _, sql := range []string{
					`select from social."Post" where position = 13 for key share`,
					`insert into social.mentions (post, who) select id, 'late' from social."Post" where position = 13`,
				} {
					if _, err := tx.Exec(t.Context(), sql); err != nil {
						t.Fatal(err)
					}
				}
				d := removal("c1", nil)
				rec, err := whileItWaits(t, r, func() (purge.Record, error) {
					if by == "step" {
						step, err := r.Step(t.Context(), d, purge.Part{Claim: true, Finish: true, Limit: 100})
						return step.Record, err
					}
					b := purge.Batch{Deletions: []purge.Deletion{d}, Budget: purge.Budget{PerDeletion: 100, Rows: 1000}}
					if by == "bulk_of_two" {
						other := removal("c2", nil)
						other.User = "8"
						b.Deletions = append(b.Deletions, other)
					}
					res, err := r.Bulk(t.Context(), b)
					if err != nil {
						return purge.Record{}, err
					}
					return res.Records[0], err
				}, func() error { return tx.Commit(t.Context()) })
				if err != nil || rec.State != purge.Done || rec.MessagesDeleted != 20 {
					t.Errorf("record = %+v, %v; want it done with 20", rec, err)
				}
				if got := socialLeft(t, r, 7); got != noOrphans {
					t.Errorf("left: %s", got)
				}
				if n := queryOne[int](t, r.pool, `select count(*)::int from social.mentions`); n != 0 {
					t.Errorf("%d mentions are left", n)
				}
			})
		}
	}
}

// A file comes in while the batch waits for its post, and its foreign key keeps the post: that is a
// race, and no failure of the deletion. The next try locks the posts first.
func TestABatchThatAChildRowComesIntoIsTriedAgain(t *testing.T) {
	t.Parallel()
	// mentions would have the posts locked first in any case
	without := func(p *plan.Plan) { p.Children = p.Children[:2] }
	cfg := newSocialWith(t, without).cfg
	cfg.Target = 10 * time.Second
	r := openRepo(t, cfg)
	fillSocial(t, r, 20, 7)
	tx := begin(t, r)
	if _, err := tx.Exec(t.Context(), `insert into social.files select thread, owner, position, 'late' from social."Post" where position = 13`); err != nil {
		t.Fatal(err)
	}
	b := purge.Batch{Deletions: []purge.Deletion{removal("c1", nil)}, Budget: purge.Budget{PerDeletion: 100, Rows: 1000}}
	_, err := whileItWaits(t, r, func() (purge.Result, error) { return r.Bulk(t.Context(), b) }, func() error { return tx.Commit(t.Context()) })
	if fault, _ := purge.FaultOf(err); err == nil || fault != purge.Contention {
		t.Fatalf("%v is %v; want contention", err, fault)
	}
	b.SkipLocked = true
	res, err := r.Bulk(t.Context(), b)
	if err != nil || !res.Finished[0] || res.Records[0].MessagesDeleted != 20 {
		t.Errorf("again = %+v, %v; want it finished with 20", res, err)
	}
}
