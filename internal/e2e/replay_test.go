package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/localstack"
)

// backedUp is a rig on a server of its own, and a base backup of it.
func backedUp(t *testing.T) (*rig, *localstack.Postgres, *localstack.Backup) {
	t.Helper()
	pg, address := ownPostgres(t)
	r := newRig(t, onDatabase(address))
	r.db.Reset()
	b, err := pg.Backup(t.Context())
	must(t, err)
	t.Cleanup(func() { must(t, b.Close()) })
	return r, pg, b
}

// restore brings the database back to a moment.
func (r *rig) restore(t *testing.T, b *localstack.Backup, pg *localstack.Postgres, to time.Time) {
	t.Helper()
	r.db.Reset()
	must(t, b.Restore(t.Context(), pg, to))
	r.db.Reset()
}

// moment is the database's clock.
func (r *rig) moment(t testing.TB) time.Time {
	t.Helper()
	return one[time.Time](t, r, `select clock_timestamp()`)
}

// summary is what `worker replay --json` prints.
type summary struct {
	Complete             bool
	DryRun               bool  `json:"dry_run"`
	Events               int64 `json:"events"`
	HistoryKept          int64 `json:"history_kept"`
	Replayed             int64
	Hidden, Erasures     int64
	MessagesDeleted      int64 `json:"messages_deleted"`
	ConversationsRemoved int64 `json:"conversations_removed"`
	Malformed, Failed    int64
	Missing              []string
}

// replay runs `worker replay` and expects the exit status.
func (r *rig) replay(t testing.TB, code int, since time.Time, settings ...string) (summary, result) {
	t.Helper()
	res := r.call(t, append([]string{"replay", "--json", "--since", since.UTC().Format(time.RFC3339Nano)}, settings...)...)
	if res.code != code {
		t.Fatalf("worker replay: exit status %d; want %d\n%s%s", res.code, code, res.out, res.err)
	}
	var s summary
	must(t, json.Unmarshal([]byte(res.out), &s))
	return s, res
}

// lasts are the last sequences of all streams, and how many events were heard.
func (r *rig) lasts(t testing.TB) string {
	t.Helper()
	var all []any
	for _, name := range []string{conversation.CommandsStream, conversation.EventsStream, conversation.DeadLettersStream} {
		stream, err := r.js.Stream(t.Context(), name)
		must(t, err)
		all = append(all, stream.CachedInfo().State.LastSeq)
	}
	must(t, r.nc.Flush())
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprint(append(all, len(r.heard))...)
}

// past is a test's conversations, and what is to become of them.
type past struct {
	small, newer, large, kept, bulkA, bulkB, before, under chat
	crowd                                                  []chat
	since                                                  time.Time
	cmds                                                   map[string]conversation.Command
}

const large = 150_000

// live lets a worker do all that a replay has to do again; a database restored to
// since knows nothing of it.
func (r *rig) live(t *testing.T) *past {
	t.Helper()
	of := func(user, id string) chat { return chat{"demo", user, id} }
	p := &past{
		small: of("alice", "c2c_bob"), newer: of("nina", "c2c_bob"), large: of("larry", "g"), kept: of("kate", "c2c_bob"),
		bulkA: of("bella", "a"), bulkB: of("bella", "b"), before: of("bert", "c2c_bob"), under: of("ursula", "g"),
		cmds: map[string]conversation.Command{},
	}
	for _, c := range []chat{p.small, p.newer, p.kept, p.bulkA, p.bulkB, p.before} {
		r.fill(t, c, 40)
	}
	r.huge(t, p.large, large)
	r.huge(t, p.under, large)
	p.crowd = r.crowd(t, "demo", "crowd", 600, 5) // more than a page of events
	do := func(c chat, cmd conversation.Command) {
		p.cmds[c.user+c.id] = cmd
		r.send(t, cmd)
	}
	w := r.start(t, "max-rows=500")
	do(p.before, p.before.ask())
	do(p.under, p.under.ask())
	r.deleted(t, p.cmds["bertc2c_bob"].CommandID, p.before.id)
	eventually(t, timeout, "a large deletion is under way", func() bool {
		state, cursor, _, _ := r.ledger(t, p.cmds["ursulag"].CommandID, "g")
		return state == "running" && cursor > 0
	})
	w.kill()
	p.since = r.moment(t)

	r.sayN(t, p.small, 3) // what a restore loses: the seqs 41 to 43
	keep := p.kept.ask()
	keep.KeepHistory = true
	do(p.small, p.small.ask())
	do(p.newer, p.newer.through(25))
	do(p.large, p.large.ask())
	do(p.kept, keep)
	do(p.bulkA, p.bulkA.ask(p.bulkB.id))
	for _, c := range p.crowd {
		do(c, c.ask())
	}
	w = r.start(t)
	r.awaitStored(t, 8+len(p.crowd), typed(conversation.TypeDeleted))
	r.settled(t)
	w.term(t)
	return p
}

func TestARestoredBackupDoesNotBringHistoryBack(t *testing.T) {
	t.Parallel()
	r, pg, backup := backedUp(t)
	p := r.live(t)
	r.restore(t, backup, pg, p.since)

	all := left{Messages: 40, Reactions: 4, Attachments: 2, First: 1, Last: 40, Row: true, Unread: 40}
	for _, c := range []chat{p.small, p.newer, p.kept, p.bulkA} {
		r.wantLeft(t, c, all)
	}
	if n := one[int](t, r, `select count(*)::int from lethe.deletions`); n != 2 {
		t.Fatalf("the restored ledger knows %d deletions; want the 2 of before", n)
	}
	r.sayN(t, p.small, 2) // 41 and 42 again, which the deletion had covered
	r.react(t, p.small, 41)
	before, lasts := r.contents(t), r.lasts(t)

	got, _ := r.replay(t, 0, p.since, "--dry-run")
	if !got.DryRun || got.MessagesDeleted < large+40+25+80+5*600 || got.Replayed != 7+600 || got.Events != 7+600 || r.contents(t) != before {
		t.Errorf("dry run: %+v; want that it counts all, and changes nothing", got)
	}

	r.killedReplay(t, p)
	r.replayTwiceAtOnce(t, p)
	p.wantGone(t, r)
	for range 2 {
		if got, _ := r.replay(t, 0, p.since); got.MessagesDeleted != 0 || got.Replayed != 0 || got.ConversationsRemoved != 0 || got.Events != 7+600 {
			t.Errorf("once more: %+v; want nothing", got)
		}
	}
	p.wantGone(t, r)
	if now := r.lasts(t); now != lasts {
		t.Errorf("last sequences and events heard: %s; want that nothing was published since %s", now, lasts)
	}
	p.wantKnown(t, r)
}

// replayTwiceAtOnce lets two replays do what is left, each its part.
func (r *rig) replayTwiceAtOnce(t *testing.T, p *past) {
	t.Helper()
	count := func() int64 { return one[int64](t, r, `select count(*) from chat.messages`) }
	was := count()
	var both sync.WaitGroup
	results := make([]result, 2)
	for i := range results {
		both.Go(func() {
			results[i] = r.call(t, "replay", "--json", "--since", p.since.UTC().Format(time.RFC3339Nano), "max-rows=5000")
		})
	}
	both.Wait()
	deleted := int64(0)
	for _, res := range results {
		var s summary
		if err := json.Unmarshal([]byte(res.out), &s); err != nil || res.code != 0 || !s.Complete || s.HistoryKept != 1 || s.Events != 7+600 {
			t.Errorf("one of two replays: exit status %d, %+v, %v; want all of it done\n%s", res.code, s, err, res.err)
		}
		deleted += s.MessagesDeleted
	}
	if gone := was - count(); gone == 0 || gone != deleted {
		t.Errorf("%d messages gone, and %d by the summaries; want as many, and some", gone, deleted)
	}
}

// contents is a digest of what a replay might change.
func (r *rig) contents(t testing.TB) string {
	t.Helper()
	return one[string](t, r, `select format('%s %s %s %s %s %s',
		(select md5(string_agg(m::text, '' order by m::text)) from (select app_id, user_id, conversation_id, seq from chat.messages) m),
		(select count(*) from chat.reactions), (select count(*) from chat.attachments), (select md5(string_agg(c::text, '' order by c::text)) from chat.conversations c),
		(select md5(string_agg(d::text, '' order by d::text)) from lethe.deletions d), (select count(*) from lethe.commands))`)
}

// killedReplay begins a replay and kills it within the large deletion.
func (r *rig) killedReplay(t *testing.T, p *past) {
	t.Helper()
	count := func() int {
		return one[int](t, r, `select count(*)::int from chat.messages where user_id in ('larry', 'ursula')`)
	}
	was := count()
	cmd := r.command(t, []string{"replay", "--since", p.since.UTC().Format(time.RFC3339Nano), "max-rows=300"})
	log := &logBuffer{}
	cmd.Stdout, cmd.Stderr = log, log
	must(t, cmd.Start())
	hit := poll(timeout, func() bool { n := count(); return n < was })
	_ = cmd.Process.Kill() // fails only if it has ended
	_ = cmd.Wait()         // it was killed
	if n := count(); !hit || n == 0 || n == was {
		t.Fatalf("killed with %d of %d messages left; want it in the middle\n%s", n, was, log.last(50))
	}
}

// wantGone asserts that the database is as it was before the restore, and has what
// came after it.
func (p *past) wantGone(t *testing.T, r *rig) {
	t.Helper()
	r.wantLeft(t, p.small, left{Messages: 2, Reactions: 1, Attachments: 1, First: 41, Last: 42, Row: true, Unread: 2})
	r.wantLeft(t, p.newer, left{Messages: 15, Reactions: 2, Attachments: 1, First: 26, Last: 40, Row: true, Unread: 15})
	r.wantLeft(t, p.kept, left{Messages: 40, Reactions: 4, Attachments: 2, First: 1, Last: 40})
	for _, c := range append([]chat{p.large, p.under, p.before, p.bulkA, p.bulkB}, p.crowd...) {
		r.wantLeft(t, c, nothing)
	}
}

// wantKnown asserts that the ledger tells what the events say, also to a duplicate.
func (p *past) wantKnown(t *testing.T, r *rig) {
	t.Helper()
	if n := one[int](t, r, `select count(*)::int from lethe.deletions where state <> 'done'`); n > 0 {
		t.Errorf("%d deletions are not done in the ledger", n)
	}
	r.start(t)
	for _, cmd := range p.cmds {
		if cmd.UserID[0] == 'c' {
			continue // of the crowd
		}
		var ids []string
		for _, c := range cmd.Conversations {
			ids = append(ids, c.ID)
		}
		_, heard, _ := r.seen(of(cmd.CommandID))
		r.again(t, cmd)
		r.awaitHeard(t, len(heard)+len(ids), of(cmd.CommandID))
		r.onlyDeleted(t, cmd.CommandID, ids...)
	}
	p.wantGone(t, r)
}

// With the operator's user and the worker's role: nobody needs more for it.
func TestAReplayNeedsNoMoreThanTheOperatorsUserAndTheWorkersRole(t *testing.T) {
	t.Parallel()
	r := newLockedRig(t)
	w := r.start(t)
	since := r.moment(t)
	c := chat{"demo", "alice", "c2c_bob"}
	r.fill(t, c, 40)
	cmd := c.ask()
	r.send(t, cmd)
	event := r.deleted(t, cmd.CommandID, c.id)
	w.term(t)
	r.exec(t, `delete from lethe.deletions; delete from lethe.commands`) // as a restore leaves the ledger
	r.fill(t, c, 40)
	r.exec(t, `update chat.messages set seq = seq - 40; update chat.reactions set seq = seq - 40; update chat.attachments set seq = seq - 40`)

	call := []string{"replay", "--since", since.UTC().Format(time.RFC3339Nano)}
	refused(t, r.call(t, call...), "replay as the worker's user", "not allowed to publish on $JS.API.DIRECT.GET.CONVERSATION_EVENTS")
	if res := r.call(t, append(r.as(t, operatorUser, "lethe_operator"), call...)...); res.code != 1 || !strings.Contains(res.err, "run: grant") {
		t.Errorf("replay as the operator's role: exit status %d, %q; want the grants that are missing", res.code, res.err)
	}
	if got, _ := r.replay(t, 0, since, r.as(t, operatorUser, "lethe_worker")...); got.MessagesDeleted != 40 || !got.Complete {
		t.Errorf("replay: %+v; want 40 messages", got)
	}
	r.wantLeft(t, c, nothing)

	r.start(t) // a duplicate is told the same with no more than the role
	r.again(t, cmd)
	r.awaitHeard(t, 2, of(cmd.CommandID))
	r.onlyDeleted(t, cmd.CommandID, c.id)
	if got := r.deleted(t, cmd.CommandID, c.id); string(got.data) != string(event.data) {
		t.Errorf("a duplicate is told %s; want %s", got, event)
	}
}
