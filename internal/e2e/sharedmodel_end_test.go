package e2e

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/conversation"
)

// end lets everything come to an end, and compares.
func (m *logModel) end() {
	t := m.t
	t.Helper()
	for i, w := range m.workers {
		if m.crashes[w] {
			w.kill()
			m.workers[i] = m.start(t, logWorkers...)
		}
	}
	m.settled(t)
	for id := range m.rooms {
		m.must(t, "erase", "--app", "demo", "--conversation", id) // what no hidden deletion waits for
	}
	floors := map[string]int64{}
	for id, r := range m.rooms {
		floors[id] = m.wantErasedThrough(r)
	}
	m.settled(t)
	m.look()
	deleted, erasures := m.wantDeleted(), 0
	for _, e := range deleted {
		if e.text("erased") == "false" && number(t, e, "through_seq") <= floors[e.conversation()] {
			erased := m.awaitStored(t, 1, typed(conversation.TypeErased), sameDeletion(e))[0]
			wantFields(t, erased, "through_seq", e.text("through_seq"))
			erasures++
		}
	}
	if stored, _, _ := m.seen(typed(conversation.TypeErased)); len(stored) != erasures {
		t.Errorf("%d events say that something is erased; want %d:\n%s", len(stored), erasures, eventLines(stored))
	}
	m.wantOnce()
	m.noAttempts(t)
	t.Logf("%d commands, %d deletions, %d told as erased; through the floors %v", len(m.asked), len(deleted), erasures, floors)
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.early) > 0 {
		t.Errorf("told too early:\n%s", strings.Join(m.early, "\n"))
	}
}

// sameDeletion chooses the events of the same deletion.
func sameDeletion(as event) match {
	return func(e event) bool {
		return e.command() == as.command() && e.conversation() == as.conversation() && e.text("user_id") == as.text("user_id")
	}
}

// wantErasedThrough asserts that a log has lost what is at or below its floor, and nothing else. It returns the floor.
func (m *logModel) wantErasedThrough(r *logRoom) (floor int64) {
	t := m.t
	t.Helper()
	floor = one[int64](t, m.rig, `select coalesce(max(through_seq), 0) from lethe.deletions where app_id = 'demo' and command_id = '' and conversation_id = $1`, r.id)
	least := one[int64](t, m.rig, `select coalesce(min(greatest(`+m.cleared()+`, (
			select w.cleared_through from lethe.watermarks w where w.app_id = 'demo' and w.user_id = x.who and w.conversation_id = x.room))), $2)
		from logs.members x where x.room = $1 and x.left_at is null`, r.id, r.newest)
	if r.raise(); floor > r.floor {
		t.Errorf("the floor of %s is %d; want at most %d", r.id, floor, r.floor)
	}
	rows, err := m.db.Query(t.Context(), `select `+m.number("at")+` from logs.messages where room = $1 order by at`, r.id)
	must(t, err)
	left, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	must(t, err)
	want := slices.DeleteFunc(slices.Sorted(slices.Values(r.sent)), func(at int64) bool { return at <= floor || at <= least })
	if !slices.Equal(left, want) {
		t.Errorf("%s has %v; want %v, above its floor %d, and above %d, which all of its members have deleted", r.id, left, want, floor, least)
	}
	if got := one[string](t, m.rig, `select format('%s %s', (select count(*) from logs.rooms), (select count(*) from logs.receipts) - (select count(*) from logs.messages))`); got != "3 0" {
		t.Errorf("rooms, and receipts beyond those of messages: %s; want 3 0", got)
	}
	return floor
}

// wantDeleted asserts what was told of each command, and returns the events of all deletions.
func (m *logModel) wantDeleted() map[string]event {
	t := m.t
	t.Helper()
	all := map[string]event{}
	for _, c := range m.asked {
		if c.AllConversations {
			m.awaitStored(t, 1, of(c.CommandID), typed(conversation.TypeAllDeleted))
		}
		found, _, _ := m.seen(of(c.CommandID), typed(conversation.TypeDeleted))
		messages := int64(0)
		told := map[string]bool{}
		for _, e := range found {
			id, who := e.conversation(), e.text("user_id")
			told[id+" "+who], all[c.CommandID+" "+id+" "+who] = true, e
			messages += number(t, e, "messages_deleted")
			if newest, asked := c.last[id]; !asked || number(t, e, "through_seq") > c.through(newest) {
				t.Errorf("%s; asked for %s, with messages through %d", e, encode(t, c.Command), newest)
			}
			if c.Scope == conversation.ScopeEveryone {
				wantFields(t, e, "scope", "everyone", "requested_by", c.UserID, "through_seq", found[0].text("through_seq"))
			} else {
				wantFields(t, e, "user_id", c.UserID, "scope", nil, "requested_by", nil)
			}
			m.wantCovered(c, e)
		}
		for _, missing := range m.missing(c, told) {
			t.Errorf("%s: no event of %s; there are\n%s", encode(t, c.Command), missing, eventLines(found))
		}
		if c.AllConversations {
			sums, _, _ := m.seen(of(c.CommandID), typed(conversation.TypeAllDeleted))
			wantFields(t, sums[0], "user_id", c.UserID, "conversations", len(found), "failed", 0, "messages_deleted", messages)
		}
	}
	return all
}

// wantCovered asserts that what lies between a deletion's boundary and the message that was the newest when it was asked for
// had been erased by then.
func (m *logModel) wantCovered(c *logCommand, e event) {
	t := m.t
	t.Helper()
	through, asked := number(t, e, "through_seq"), min(c.through(c.first[e.conversation()]), c.first[e.conversation()])
	m.mu.Lock()
	defer m.mu.Unlock()
	rows, err := m.db.Query(t.Context(), `select `+m.number("at")+` from logs.messages where room = $1`, e.conversation())
	must(t, err)
	left, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	must(t, err)
	for _, at := range left {
		if at > through && at <= asked && !m.strays[at] {
			t.Errorf("%s, and %d is left; it was asked for through %d", e, at, asked)
		}
	}
}

// missing are deletions that a command must have had. Where members come and go it may have others.
func (m *logModel) missing(c *logCommand, told map[string]bool) (missing []string) {
	want := func(id, who string) {
		if !told[id+" "+who] {
			missing = append(missing, id+" of "+who)
		}
	}
	for id, rows := range c.rows {
		if c.Scope == "" && !c.AllConversations {
			want(id, c.UserID)
			continue
		}
		for who, generation := range rows {
			r := m.rooms[id]
			x := r.members[who]
			stayed := x.row && x.generation == generation
			if stayed && (c.Scope == conversation.ScopeEveryone || who == c.UserID && c.first[id] > r.floor) {
				want(id, who)
			}
		}
	}
	return missing
}

// wantOnce asserts that each thing was told under one id, in the same words however often, and nothing failed.
func (m *logModel) wantOnce() {
	t := m.t
	t.Helper()
	stored, heard, _ := m.seen(func(e event) bool { return e.kind() != conversation.TypeDeleting })
	first, ids := map[string]event{}, map[string]string{}
	for i, e := range append(slices.Clone(stored), heard...) {
		key := fmt.Sprint(e.kind(), " ", e.command(), " ", e.conversation(), " ", e.text("user_id"))
		if e.kind() == conversation.TypeDeleteFailed {
			t.Errorf("%s; want no failure", e)
		}
		if was, again := first[key]; again {
			if sameEvent(t, was, e); was.id() != e.id() || i < len(stored) {
				t.Errorf("told twice: %s, and %s", was, e)
			}
			continue
		}
		if other, taken := ids[e.id()]; taken {
			t.Errorf("%s has the id of %s", e, other)
		}
		first[key], ids[e.id()] = e, key
	}
}
