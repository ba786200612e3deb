package repo

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/purge"
)

// Writers of the app lock in the orders that they like: message, room, members; room, message; room, members. Hides, floors and erasures
// among them give up first, so that the server never has to end a deadlock; and each is done in the end.
func TestErasuresDeadlockWithNoWriter(t *testing.T) {
	t.Parallel()
	r := newLog(t, "numbers", "true")
	const rooms, members = 3, 4
	names := []string{"a", "b", "c", "d"}
	for room := range rooms {
		fillLog(t, r, room, 200, names...)
	}
	end := time.Now().Add(1200 * time.Millisecond)
	var wg sync.WaitGroup
	write := func(statements ...string) { // one transaction after the other, until the time is over
		wg.Go(func() {
			for n := 1000 * rand.IntN(1000); time.Now().Before(end); n++ {
				tx, err := r.pool.Begin(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				room, who := n%rooms, names[rand.IntN(members)]
				for _, sql := range append([]string{`set local lock_timeout = 0 -- %[1]d %[2]s`}, statements...) {
					if _, err := tx.Exec(t.Context(), fmt.Sprintf(sql, room, who)); err != nil {
						t.Errorf("%s: %v", sql, err)
					}
				}
				if err := tx.Commit(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	execSQL(t, r.pool, `create sequence log.positions start 1000`)
	write(`insert into log.messages (room, n, at, ms) select %[1]d, n, timestamptz '2026-01-01 00:00Z' + n * interval '1 s', 0 from nextval('log.positions') n -- %[2]s`,
		`update log.members set unread = unread + 1 where room = %[1]d and who <> '%[2]s'`)
	write(`update log.rooms set newest = 0 where id = %[1]d -- %[2]s`,
		`update log.messages set body = 'edited' where room = %[1]d and n in (select n from log.messages where room = %[1]d order by n limit 5) -- %[2]s`)
	write(`update log.rooms set newest = 1 where id = %[1]d -- %[2]s`, `update log.members set left_at = now() where room = %[1]d and who = '%[2]s'`,
		`update log.members set left_at = null where room = %[1]d and who = '%[2]s'`)
	contended := func(err error) bool {
		fault, _ := purge.FaultOf(err)
		return err != nil && fault == purge.Contention
	}
	erase := func(room int) {
		raised, err := r.RaiseFloor(t.Context(), "demo", fmt.Sprint(room))
		d := purge.ErasureOf(purge.Key{App: "demo", Conversation: fmt.Sprint(room)}, tokens())
		for low, claim := int64(0), true; err == nil && raised.Open; {
			var step purge.Step
			if step, err = r.Step(t.Context(), d, purge.Part{Claim: claim, Finish: true, Low: low, Limit: 50}); err != nil || !step.Record.Mine {
				break
			}
			low, claim = step.Low, step.Reached // something came in below: from the start
		}
		if contended(err) {
			err = r.Release(t.Context(), d, 0, "", "")
		}
		if err != nil {
			t.Error(err)
		}
	}
	for range 2 {
		wg.Go(func() {
			for n := 0; time.Now().Before(end); n++ {
				b := purge.Batch{Budget: wide}
				for room := range rooms {
					for _, who := range names {
						d := hideOf(fmt.Sprint(n, rand.Int()), who, room, 0)
						d.StoredAt = logStart.Add(time.Hour)
						b.Deletions = append(b.Deletions, d)
					}
				}
				if _, err := r.Bulk(t.Context(), b); err != nil && !contended(err) {
					t.Error(err)
				}
				erase(n % rooms)
			}
		})
	}
	wg.Wait()
	for room := range rooms {
		var left int
		for _, who := range names {
			steps(t, r, hideOf("last"+who, who, room, 1_000_000))
		}
		erase(room)
		if left = queryOne[int](t, r.pool, `select count(*) from log.messages where room = $1`, room); left != 0 {
			t.Errorf("%d messages are left in room %d; want none, since all have cleared it", left, room)
		}
	}
	if n := queryOne[int](t, r.pool, `select deadlocks from pg_stat_database where datname = current_database()`); n != 0 {
		t.Errorf("the server has ended %d deadlocks; want none", n)
	}
	if n := queryOne[int](t, r.pool, `select count(*) from lethe.deletions where command_id <> ''`); n < 50 {
		t.Errorf("%d deletions were hidden among the writers; want more", n)
	}
}
