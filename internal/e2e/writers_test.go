package e2e

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/conversation"
)

// Everybody writes all the while, and every conversation is deleted again and
// again meanwhile, in both lanes.
func TestWhileMessagesComeInNoneIsLostAndNoneIsLeft(t *testing.T) {
	t.Parallel()
	rounds := sized(12, 200)
	rnd := random(t)
	r := newRig(t)
	r.exec(t, `create table public.said (user_id text, conversation_id text, seq bigint)`)
	settings := []string{"--express-rows", "8", "max-rows=10", "min-rows=5"}
	r.start(t, settings...)
	r.start(t, settings...)

	var chats []chat
	for _, user := range []string{"alice", "bob"} {
		for _, id := range []string{"c2c_eve", "group_1", "group_2"} {
			chats = append(chats, chat{"demo", user, id})
		}
	}
	crew := newCrew(t, r, rnd)
	for _, user := range []int{0, 3} {
		for range 2 {
			crew.writes(func(rnd *rand.Rand, writer *sender) error {
				return writer.say(chats[user+rnd.IntN(3)], rnd.IntN(3) == 0)
			})
		}
	}
	crew.writes(func(rnd *rand.Rand, writer *sender) error { return writer.react(chats[rnd.IntN(len(chats))]) })
	crew.writes(func(rnd *rand.Rand, writer *sender) error { return writer.pin(chats[rnd.IntN(len(chats))]) })

	want := map[deletionKey]int{}
	for range rounds {
		for _, i := range rnd.Perm(len(chats)) {
			cmd := r.randomCommand(t, rnd, chats[i])
			r.send(t, cmd)
			if rnd.IntN(4) == 0 {
				r.again(t, cmd)
			}
			for _, target := range cmd.Conversations {
				want[deletionKey{cmd.CommandID, target.ID}] = -1
			}
			pause(t, between(rnd, 0, 40*time.Millisecond))
		}
	}
	crew.stop(t)
	r.awaitStored(t, len(want))
	r.settled(t)
	r.told(t, want)
	r.noAttempts(t)
	deleted, said := 0, one[int](t, r, `select count(*)::int from public.said`)
	for _, c := range chats {
		deleted += r.wantOnlyNewer(t, c)
	}
	if left := one[int](t, r, `select count(*)::int from chat.messages`); left+deleted != said {
		t.Errorf("of %d messages %d are left, and the events count %d; want the sum", said, left, deleted)
	}
	t.Logf("%d messages said and %d deleted by %d deletions", said, deleted, len(want))
	if deleted < 3*rounds {
		t.Errorf("only %d messages were deleted: nobody wrote", deleted)
	}
}

// randomCommand is for c alone, or for its neighbour too.
func (r *rig) randomCommand(t testing.TB, rnd *rand.Rand, c chat) conversation.Command {
	t.Helper()
	cmd := c.ask()
	if rnd.IntN(4) == 0 && c.id != "group_2" {
		cmd = c.ask("group_2")
	}
	cmd.KeepHistory = rnd.IntN(5) == 0
	if rnd.IntN(3) == 0 {
		seq := one[int64](t, r, `select last_seq from chat.counters where user_id = $1 union all select 0 order by 1 desc limit 1`, c.user)
		seq = max(0, seq+10-rnd.Int64N(40)) // also one that nobody has used yet
		cmd.Conversations[0].ThroughSeq = &seq
	}
	return cmd
}

// wantOnlyNewer asserts that of all that was said in c exactly those messages
// are left that are newer than the greatest boundary that an event told, with
// all that must be with them. It returns how many the events say were deleted.
func (r *rig) wantOnlyNewer(t *testing.T, c chat) (deleted int) {
	t.Helper()
	var purged, newest int64
	stored, _, _ := r.seen(func(e event) bool { return e.text("user_id") == c.user && e.conversation() == c.id }, typed(conversation.TypeDeleted))
	for _, e := range stored {
		through, err := strconv.ParseInt(e.text("through_seq"), 10, 64)
		n, err2 := strconv.Atoi(e.text("messages_deleted"))
		if err != nil || err2 != nil {
			t.Fatalf("event %s", e)
		}
		newest = max(newest, through)
		if e.text("history_kept") != "true" {
			purged = max(purged, through)
		}
		deleted += n
	}
	args := []any{c.user, c.id, purged, newest}
	for what, sql := range map[string]string{
		"lost":                           `select s.seq from public.said s where (s.user_id, s.conversation_id) = ($1, $2) and s.seq > $3 and $4::bigint >= $3 and not exists (select from chat.messages m where (m.user_id, m.conversation_id, m.seq) = (s.user_id, s.conversation_id, s.seq))`,
		"left":                           `select seq from chat.messages where (user_id, conversation_id) = ($1, $2) and seq <= $3 and $4::bigint >= $3`,
		"reactions without a message":    `select x.seq from chat.reactions x where (x.user_id, x.conversation_id) = ($1, $2) and $4::bigint >= $3 and not exists (select from chat.messages m where (m.user_id, m.conversation_id, m.seq) = (x.user_id, x.conversation_id, x.seq))`,
		"without a row, or one too many": `select 1::bigint where $4::bigint >= $3 and exists (select from chat.conversations where (user_id, conversation_id) = ($1, $2)) <> exists (select from chat.messages where (user_id, conversation_id) = ($1, $2) and seq > $4)`,
		"unread": `select unread_count::bigint from chat.conversations where (user_id, conversation_id) = ($1, $2) and $4::bigint >= $3
			and unread_count <> (select count(*) from chat.messages where (user_id, conversation_id) = ($1, $2) and seq > $4)`,
	} {
		rows, err := r.db.Query(t.Context(), sql, args...)
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		seqs, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		if len(seqs) > 0 {
			t.Errorf("%s of %+v, whose boundaries reach to %d (history) and %d (row): %v", what, c, purged, newest, seqs)
		}
	}
	return deleted
}

// crew are the writers of a test.
type crew struct {
	r    *rig
	rnd  *rand.Rand // for the writers' seeds
	ctx  context.Context
	end  context.CancelFunc
	all  sync.WaitGroup
	mu   sync.Mutex // guards errs
	errs []error
}

func newCrew(t testing.TB, r *rig, rnd *rand.Rand) *crew {
	t.Helper()
	c := &crew{r: r, rnd: rnd}
	c.ctx, c.end = context.WithCancel(context.WithoutCancel(t.Context()))
	t.Cleanup(func() { c.stop(t) })
	return c
}

// writes does one thing again and again.
func (c *crew) writes(once func(*rand.Rand, *sender) error) {
	rnd := rand.New(rand.NewPCG(c.rnd.Uint64(), 0))
	s := &sender{r: c.r}
	c.all.Go(func() {
		for c.ctx.Err() == nil {
			if err := once(rnd, s); err != nil {
				c.mu.Lock()
				c.errs = append(c.errs, err)
				c.mu.Unlock()
				return
			}
			select {
			case <-time.After(between(rnd, 0, 6*time.Millisecond)):
			case <-c.ctx.Done():
			}
		}
	})
}

// stop waits until the last writer has finished its transaction.
func (c *crew) stop(t testing.TB) {
	t.Helper()
	c.end()
	c.all.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, err := range c.errs {
		t.Errorf("a writer: %v", err)
	}
	c.errs = nil
}

// sender writes as a chat server does, and notes what it has committed.
type sender struct{ r *rig }

// say sends one message, with a reaction if wanted.
func (s *sender) say(c chat, liked bool) error {
	ctx := context.Background()
	return pgx.BeginFunc(ctx, s.r.db, func(tx pgx.Tx) error {
		var seq int64
		err := tx.QueryRow(ctx, `insert into chat.counters as k (app_id, user_id, last_seq) values ($1, $2, 1)
			on conflict (app_id, user_id) do update set last_seq = k.last_seq + 1 returning last_seq`, c.app, c.user).Scan(&seq)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at) values ($1, $2, $3, $4, clock_timestamp())`,
			c.app, c.user, c.id, seq); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, upsertRow, c.app, c.user, c.id, seq, 1); err != nil {
			return err
		}
		if liked {
			if _, err := tx.Exec(ctx, hangOn, c.app, c.user, c.id, seq, "self"); err != nil {
				return err
			}
		}
		_, err = tx.Exec(ctx, `insert into public.said values ($1, $2, $3)`, c.user, c.id, seq)
		return err
	})
}

const hangOn = `insert into chat.reactions (app_id, user_id, conversation_id, seq, reactor_id, emoji) values ($1, $2, $3, $4, $5, '👍') on conflict do nothing`

// react hangs a reaction on some message, if there is one, and holds that until
// it is written.
func (s *sender) react(c chat) error {
	ctx := context.Background()
	return pgx.BeginFunc(ctx, s.r.db, func(tx pgx.Tx) error {
		var seq int64
		err := tx.QueryRow(ctx, `select seq from chat.messages where app_id = $1 and user_id = $2 and conversation_id = $3
			order by random() limit 1 for key share`, c.app, c.user, c.id).Scan(&seq)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err == nil {
			_, err = tx.Exec(ctx, hangOn, c.app, c.user, c.id, seq, "friend")
		}
		return err
	})
}

// pin changes the conversation's row, if there is one, and no message.
func (s *sender) pin(c chat) error {
	_, err := s.r.db.Exec(context.Background(), `update chat.conversations set pinned = not pinned where app_id = $1 and user_id = $2 and conversation_id = $3`,
		c.app, c.user, c.id)
	return err
}
