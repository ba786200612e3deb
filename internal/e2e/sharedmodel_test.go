package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
)

// In a shared log nobody ever reads what they have deleted, nobody loses what they haven't, what all have deleted goes and nothing
// else, and each of it is told once, whoever joins, leaves, writes and deletes, and whatever happens to the workers.
// LETHE_E2E_SEED repeats a run's choices.
func TestSharedLogsRandomDeletionsHideAndEraseWhatAModelSays(t *testing.T) {
	t.Parallel()
	for _, f := range []logForm{{"numbers_and_a_column", false, true}, {"numbers_alone", false, false}, {"times_and_a_column", true, true}, {"times_alone", true, false}} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			m := newLogModel(t, f)
			for range sized(80, 2000) {
				m.act()
				m.look()
			}
			m.end()
		})
	}
}

// logForm is how messages are ordered, and where the watermarks are that the app reads.
type logForm struct {
	name          string
	times, column bool
}

// number is a position in SQL as the events have it, and position the other way round.
func (f logForm) number(sql string) string {
	if f.times {
		return "(extract(epoch from " + sql + ") * 1000000)::bigint"
	}
	return sql
}

func (f logForm) position(sql string) string {
	if f.times {
		return "(timestamptz 'epoch' + " + sql + " * interval '1 microsecond')"
	}
	return sql
}

// tables are the app's.
func (f logForm) tables() string {
	kind := "bigint"
	if f.times {
		kind = "timestamptz"
	}
	return strings.ReplaceAll(`create schema logs;
		create table logs.rooms (id text primary key);
		create table logs.members (room text not null, who text not null, left_at timestamptz, seen_from POSITION, cleared POSITION, primary key (room, who));
		create index on logs.members (who, room);
		create index on logs.members (room, cleared);
		create table logs.messages (id uuid primary key default gen_random_uuid(), room text not null, at POSITION not null, sent_at timestamptz not null);
		create index on logs.messages (room, at);
		create index on logs.messages (room, sent_at);
		create table logs.receipts (message uuid primary key)`, "POSITION", kind)
}

func (f logForm) plan() string {
	watermark := ""
	if f.column {
		watermark = ", watermark: cleared"
	}
	return `tenant: demo
messages: {table: logs.messages, conversation: room, seq: at, sent_at: sent_at}
members: {table: logs.members, user: who, conversation: room, where: {left_at: null}, visible_from: seen_from` + watermark + `}
conversations: {table: logs.rooms, where: {id: $conversation}, keep: true}
children: [{table: logs.receipts, references: {column: message, to: id}}]
`
}

// cleared is in SQL what the app reads above, of the member x.
func (f logForm) cleared() string {
	mark := `(select w.cleared_through from lethe.watermarks w where w.app_id = 'demo' and w.user_id = x.who and w.conversation_id = x.room)`
	if f.column {
		mark = f.number("x.cleared")
	}
	return `greatest(coalesce(` + mark + `, 0), coalesce(` + f.number("x.seen_from") + ` - 1, 0))`
}

// logModel is what one run knows. It knows bounds: what the workers do meanwhile shows later.
type logModel struct {
	*rig
	logForm
	t       *testing.T
	rnd     *rand.Rand
	rooms   map[string]*logRoom
	asked   []*logCommand
	workers []*worker
	crashes map[*worker]bool // those that end by themselves

	mu     sync.Mutex        // guards what follows
	early  []string          // faults of events that came too early
	strays map[int64]bool    // positions of messages that came late
	told   map[logTold]int64 // boundaries
}

// logTold is whose deletion of what was told.
type logTold struct{ room, who string }

// logRoom is one log.
type logRoom struct {
	id      string
	sent    []int64 // positions, in the order of their commits
	gaps    []int64 // numbers that nobody has used yet
	newest  int64
	floor   int64 // at most so far anything may have been erased
	members map[string]*logMember
	cleared map[string]int64 // at most so far anything may be hidden from whoever
}

// logMember is a row of the members' table.
type logMember struct {
	row, counts bool
	generation  int   // of the row
	from, above int64 // the first position to see; what had gone when they came
}

// logCommand is a command, with the newest message of each of its rooms when it was published first and last, and the members'
// rows at first.
type logCommand struct {
	conversation.Command
	first, last map[string]int64
	rows        map[string]map[string]int
}

var (
	logRooms   = []string{"a", "b", "c"}
	logPeople  = []string{"alice", "bob", "carol", "dave"}
	logWorkers = []string{"min-rows=4", "max-rows=8", "erase-poll=100ms", "sweep-every=300ms"}
	logCrashes = []string{
		"after_pull", "after_commit", "after_publish", "before_ack", "in_batch", "after_raise", "after_erase", "after_told",
		"page_noted", "enumeration_completed", "all_deleted_published",
	}
)

func newLogModel(t *testing.T, f logForm) *logModel {
	t.Helper()
	file := filepath.Join(t.TempDir(), "plan.yaml")
	must(t, os.WriteFile(file, []byte(f.plan()), 0o600))
	m := &logModel{
		rig: newRig(t, withSchema(f.tables()), withEnv("LETHE_PLAN="+file)), logForm: f, t: t, rnd: random(t),
		rooms: map[string]*logRoom{}, crashes: map[*worker]bool{}, strays: map[int64]bool{}, told: map[logTold]int64{},
	}
	for _, id := range logRooms {
		r := &logRoom{id: id, members: map[string]*logMember{}, cleared: map[string]int64{}}
		m.rooms[id] = r
		m.exec(t, `insert into logs.rooms values ($1)`, id)
		for _, who := range logPeople {
			r.members[who] = &logMember{}
			m.join(r, who)
		}
		m.say(r, 5)
	}
	// When it comes, not when the test gets to it.
	_, err := m.nc.Subscribe("conversation.erased.demo.*", func(msg *nats.Msg) { m.wantGone(newEvent(message{data: msg.Data})) })
	must(t, err)
	_, err = m.nc.Subscribe("conversation.deleted.demo.*", func(msg *nats.Msg) {
		e := newEvent(message{data: msg.Data})
		m.mu.Lock()
		defer m.mu.Unlock()
		k := logTold{e.conversation(), e.text("user_id")}
		m.told[k] = max(m.told[k], number(t, e, "through_seq"))
	})
	must(t, err)
	must(t, m.nc.Flush())
	m.workers = []*worker{m.start(t, logWorkers...), m.start(t, logWorkers...)}
	return m
}

// wantGone asserts that the rows are gone that an event says are.
func (m *logModel) wantGone(e event) {
	rows, err := m.db.Query(m.t.Context(), `select `+m.number("at")+` from logs.messages where room = $1 and at <= `+m.position("$2::bigint"), e.conversation(), number(m.t, e, "through_seq"))
	if err != nil {
		return // the test is over
	}
	left, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	m.mu.Lock()
	defer m.mu.Unlock()
	left = slices.DeleteFunc(left, func(at int64) bool { return m.strays[at] })
	if err == nil && len(left) > 0 {
		m.early = append(m.early, fmt.Sprintf("%s, but %v are left", e, left))
	}
}

func (m *logModel) room() *logRoom { return m.rooms[logRooms[m.rnd.IntN(len(logRooms))]] }
func (m *logModel) who() string    { return logPeople[m.rnd.IntN(len(logPeople))] }

// act does one thing that happens.
func (m *logModel) act() {
	switch r, who := m.room(), m.who(); m.rnd.IntN(24) {
	case 0, 1, 2, 3:
		m.say(r, 1+m.rnd.IntN(4))
	case 4, 5:
		m.say(r, 20+m.rnd.IntN(20))
	case 6:
		m.sayLate(r)
	case 7, 8, 9, 10:
		m.join(r, who)
	case 11, 12:
		m.leave(r, who)
	case 13, 14, 15, 16, 17:
		m.ask(conversation.Command{UserID: who, Conversations: []conversation.Target{m.target(r)}, KeepConversation: m.rnd.IntN(4) == 0})
	case 18:
		m.ask(conversation.Command{UserID: who, AllConversations: true})
	case 19:
		m.ask(conversation.Command{UserID: who, Conversations: []conversation.Target{m.target(r)}, Scope: conversation.ScopeEveryone, KeepConversation: m.rnd.IntN(2) == 0})
	case 20:
		if len(m.asked) > 0 {
			m.publish(m.asked[m.rnd.IntN(len(m.asked))])
		}
	case 21:
		if m.rnd.IntN(2) == 0 {
			m.crashSome()
		}
	default:
		pause(m.t, between(m.rnd, time.Millisecond, 50*time.Millisecond))
	}
	for _, r := range m.rooms {
		r.raise()
	}
}

// raise is the most that a floor may have become. It may have been computed at any moment.
func (r *logRoom) raise() {
	floor, counted := r.newest, false
	for who, x := range r.members {
		if x.counts {
			cleared := max(r.cleared[who], x.from-1)
			if floor = min(floor, cleared); !counted {
				floor, counted = cleared, true
			}
		}
	}
	r.floor = max(r.floor, floor)
}

// say writes n messages; by a clock that stands still where times are positions.
func (m *logModel) say(r *logRoom, n int) {
	m.t.Helper()
	at := "now()"
	if !m.times {
		gap := m.rnd.Int64N(3)
		for i := range gap {
			r.gaps = append(r.gaps, r.newest+1+i)
		}
		at = fmt.Sprintf("%d + i", r.newest+gap)
	}
	m.write(r, `select $1, `+at+`, now() from generate_series(1, $2::int) i`, r.id, n)
}

// sayLate writes a message below others.
func (m *logModel) sayLate(r *logRoom) {
	m.t.Helper()
	at := r.sent[m.rnd.IntN(len(r.sent))] + 1
	if !m.times {
		if len(r.gaps) == 0 {
			return
		}
		i := m.rnd.IntN(len(r.gaps))
		at = r.gaps[i]
		r.gaps = slices.Delete(r.gaps, i, i+1)
	}
	m.mu.Lock()
	m.strays[at] = true
	m.mu.Unlock()
	m.write(r, `select $1, `+m.position("$2::bigint")+`, clock_timestamp()`, r.id, at)
}

func (m *logModel) write(r *logRoom, sql string, args ...any) {
	m.t.Helper()
	rows, err := m.db.Query(m.t.Context(), `with m as (insert into logs.messages (room, at, sent_at) `+sql+` returning id, at), x as (insert into logs.receipts select id from m)
		select `+m.number("at")+` from m`, args...)
	must(m.t, err)
	at, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	must(m.t, err)
	r.sent = append(r.sent, at...)
	r.newest = slices.Max(append(at, r.newest))
}

// join makes somebody a member, as docs/shared-logs.md says: with the watermark that they had.
func (m *logModel) join(r *logRoom, who string) {
	m.t.Helper()
	x := r.members[who]
	switch {
	case x.counts:
		return
	case x.row:
		m.exec(m.t, `update logs.members set left_at = null where room = $1 and who = $2`, r.id, who)
	default:
		if m.column && len(m.asked) > 0 {
			// Whoever copies the watermark must not do so while it is being moved.
			if info, err := m.streamInfo(m.t, m.names.CommandsStream()); err != nil || info.State.Msgs > 0 {
				return
			}
		}
		x.from = 0
		if m.rnd.IntN(3) == 0 {
			x.from = r.newest + 1
		}
		mark := `(select ` + m.position("w.cleared_through") + ` from lethe.watermarks w where w.app_id = 'demo' and w.user_id = $2 and w.conversation_id = $1)`
		m.exec(m.t, `insert into logs.members (room, who, seen_from, cleared) select $1, $2, `+m.position("nullif($3::bigint, 0)")+`, `+mark, r.id, who, x.from)
		x.generation++
	}
	x.row, x.counts, x.above = true, true, r.floor
}

// leave ends a membership in one of two ways.
func (m *logModel) leave(r *logRoom, who string) {
	m.t.Helper()
	x := r.members[who]
	if m.rnd.IntN(2) == 0 {
		m.exec(m.t, `delete from logs.members where room = $1 and who = $2`, r.id, who)
		x.row = false
	} else {
		m.exec(m.t, `update logs.members set left_at = now() where room = $1 and who = $2`, r.id, who)
	}
	x.counts = false
}

// target is a conversation of a command, sometimes through a message or beyond the newest.
func (m *logModel) target(r *logRoom) conversation.Target {
	target := conversation.Target{ID: r.id}
	if m.rnd.IntN(2) == 0 {
		through := r.sent[m.rnd.IntN(len(r.sent))]
		if m.rnd.IntN(5) == 0 {
			through = r.newest + 2
		}
		target.ThroughSeq = &through
	}
	return target
}

// through is at most the boundary of a command in a room whose newest message is this.
func (c *logCommand) through(newest int64) int64 {
	for _, target := range c.Conversations {
		if target.ThroughSeq != nil {
			return *target.ThroughSeq
		}
	}
	return newest
}

// ask publishes a new command.
func (m *logModel) ask(cmd conversation.Command) {
	m.t.Helper()
	cmd.CommandID, cmd.AppID = fmt.Sprintf("d%d", len(m.asked)), "demo"
	c := &logCommand{Command: cmd, first: map[string]int64{}, rows: map[string]map[string]int{}}
	m.asked = append(m.asked, c)
	for id, r := range m.rooms {
		if cmd.AllConversations || cmd.Conversations[0].ID == id {
			c.first[id], c.rows[id] = r.newest, map[string]int{}
			for who, x := range r.members {
				if x.row {
					c.rows[id][who] = x.generation
				}
			}
		}
	}
	m.publish(c)
}

// publish sends a command, perhaps again: whichever comes first decides the boundary.
func (m *logModel) publish(c *logCommand) {
	m.t.Helper()
	c.last = map[string]int64{}
	for id := range c.first {
		r := m.rooms[id]
		c.last[id] = r.newest
		through := c.through(r.newest)
		if c.Scope == conversation.ScopeEveryone {
			for _, who := range logPeople {
				r.cleared[who] = max(r.cleared[who], through)
			}
			r.floor = max(r.floor, through)
		} else {
			r.cleared[c.UserID] = max(r.cleared[c.UserID], through)
		}
	}
	m.send(m.t, c.Command)
}

// crashSome kills a worker, or what is left of one, and starts another that kills itself at some point, perhaps never.
func (m *logModel) crashSome() {
	i := m.rnd.IntN(len(m.workers))
	m.workers[i].kill()
	point := fmt.Sprintf("%s:%d", logCrashes[m.rnd.IntN(len(logCrashes))], 1+m.rnd.IntN(4))
	m.workers[i] = m.launch(m.t, append([]string{"LETHE_CRASH_AT=" + point}, logWorkers...)...)
	m.crashes[m.workers[i]] = true
}

// look reads what each member reads, at once.
func (m *logModel) look() {
	m.t.Helper()
	m.mu.Lock()
	told := make(map[logTold]int64, len(m.told))
	for k, through := range m.told {
		told[k] = through
	}
	m.mu.Unlock()
	rows, err := m.db.Query(m.t.Context(), `select x.room, x.who, array(select `+m.number("m.at")+` from logs.messages m where m.room = x.room and `+m.number("m.at")+` > `+m.cleared()+`)
		from logs.members x where x.left_at is null`)
	must(m.t, err)
	var room, who string
	var reads []int64
	_, err = pgx.ForEachRow(rows, []any{&room, &who, &reads}, func() error {
		slices.Sort(reads)
		if through, was := told[logTold{room, who}]; was && len(reads) > 0 && reads[0] <= through {
			m.t.Errorf("%s reads %d of %s, and was told that it is deleted through %d", who, reads[0], room, through)
		}
		r := m.rooms[room]
		x := r.members[who]
		may := max(r.cleared[who], x.above, x.from-1)
		for _, at := range r.sent {
			if _, found := slices.BinarySearch(reads, at); at > may && !found {
				m.t.Errorf("%s doesn't read %d of %s; what they have deleted, or had gone when they came, is at most what is through %d (%d, %d, %d)", who, at, room, may, r.cleared[who], x.above, x.from-1)
			}
		}
		return nil
	})
	must(m.t, err)
	if m.t.Failed() {
		m.t.FailNow()
	}
}
