package e2e

import (
	"fmt"

	"pgregory.net/rapid"

	"github.com/lethe-im/lethe/conversation"
)

func (m *model) say(rt *rapid.T) { m.write(m.draw(rt), rapid.IntRange(1, 3).Draw(rt, "messages")) }

// talk is enough for the long lane.
func (m *model) talk(rt *rapid.T) { m.write(m.draw(rt), rapid.IntRange(20, 60).Draw(rt, "messages")) }

// write sends messages, in one transaction, with a reaction on each third.
func (m *model) write(c chat, n int) {
	m.letGo("row of " + c.user + " " + c.id)
	var seqs []int64
	rows, err := m.r.db.Query(m.t.Context(), `
		with k as (insert into chat.counters as k (app_id, user_id, last_seq) values ($1, $2, $4)
			on conflict (app_id, user_id) do update set last_seq = k.last_seq + excluded.last_seq returning last_seq),
		m as (insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at)
			select $1, $2, $3, s, clock_timestamp() from k, generate_series(last_seq - $4 + 1, last_seq) s returning seq),
		x as (insert into chat.reactions (app_id, user_id, conversation_id, seq, reactor_id, emoji)
			select $1, $2, $3, seq, 'somebody', '👍' from m where seq % 3 = 0),
		c as (insert into chat.conversations as c (app_id, user_id, conversation_id, last_seq, unread_count) select $1, $2, $3, last_seq, $4 from k
			on conflict (app_id, user_id, conversation_id) do update set last_seq = excluded.last_seq, unread_count = c.unread_count + excluded.unread_count)
		select seq from m order by seq`, c.app, c.user, c.id, n)
	if err == nil {
		for rows.Next() {
			var seq int64
			if err = rows.Scan(&seq); err != nil {
				break
			}
			seqs = append(seqs, seq)
		}
		rows.Close()
		err = rows.Err()
	}
	if err != nil {
		m.t.Fatalf("write: %v", err)
	}
	a := m.chats[c]
	a.said = append(a.said, seqs...)
	m.logf("%s %s: seq %d to %d are said", c.user, c.id, seqs[0], a.newest())
}

// delete publishes a new command.
func (m *model) delete(rt *rapid.T) {
	c := m.draw(rt)
	ids := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "never_was"}), 1, 3, rapid.ID[string]).Draw(rt, "conversations")
	cmd := conversation.Command{CommandID: fmt.Sprintf("d%d", len(m.asked)), AppID: m.app, UserID: c.user, KeepHistory: rapid.IntRange(0, 4).Draw(rt, "keep") == 4}
	for _, id := range ids {
		target := conversation.Target{ID: id}
		if rapid.Bool().Draw(rt, "bounded") {
			seq := rapid.Int64Range(0, m.account(chat{m.app, c.user, id}).newest()+5).Draw(rt, "through_seq")
			target.ThroughSeq = &seq
		}
		cmd.Conversations = append(cmd.Conversations, target)
	}
	a := &asked{contents: []*content{{cmd: cmd}}}
	m.asked = append(m.asked, a)
	m.publish(a.contents[0])
}

// publish sends a command.
func (m *model) publish(c *content) {
	m.r.send(m.t, c.cmd)
	m.logf("published: %s", encode(m.t, c.cmd))
	c.copies++
	c.last = map[string]int64{}
	for _, target := range c.cmd.Conversations {
		c.last[target.ID] = m.account(chat{m.app, c.cmd.UserID, target.ID}).newest()
	}
	if c.first == nil {
		c.first = c.last
	}
}

// duplicate publishes again what was published before, however long ago.
func (m *model) duplicate(rt *rapid.T) {
	if len(m.asked) > 0 {
		a := rapid.SampledFrom(m.asked).Draw(rt, "which")
		m.publish(a.contents[0])
	}
}

// clash publishes another content under an id that is in use.
func (m *model) clash(rt *rapid.T) {
	if len(m.asked) == 0 {
		return
	}
	a := rapid.SampledFrom(m.asked).Draw(rt, "which")
	if len(a.contents) == 1 {
		other := &content{cmd: a.contents[0].cmd}
		if rapid.Bool().Draw(rt, "other user") {
			other.cmd.UserID = map[string]string{"alice": "bob", "bob": "alice"}[other.cmd.UserID]
		} else {
			other.cmd.KeepHistory = !other.cmd.KeepHistory
		}
		a.contents = append(a.contents, other)
	}
	m.publish(a.contents[1])
}

// hold locks one message, or the conversation's row, until release.
func (m *model) hold(rt *rapid.T) {
	c := m.draw(rt)
	a := m.chats[c]
	key, args := "row of "+c.user+" "+c.id, []any{c.app, c.user, c.id}
	sql := `select from chat.conversations where app_id = $1 and user_id = $2 and conversation_id = $3 for update`
	if there := a.newer(a.purged); len(there) > 0 && rapid.Bool().Draw(rt, "a message") {
		seq := rapid.SampledFrom(there).Draw(rt, "seq")
		key, args = fmt.Sprintf("seq %d of %s %s", seq, c.user, c.id), append(args, seq)
		sql = `select from chat.messages where app_id = $1 and user_id = $2 and conversation_id = $3 and seq = $4 for update`
	}
	if m.held[key] == nil {
		m.held[key] = m.r.hold(m.t, sql, args...)
		m.logf("held: %s", key)
	}
}

func (m *model) letGo(key string) {
	if free := m.held[key]; free != nil {
		m.logf("let go: %s", key)
		free()
		delete(m.held, key)
	}
}

// release lets all locks go.
func (m *model) release() {
	for key := range m.held {
		m.letGo(key)
	}
}

// restart ends the worker, by SIGTERM or as kill -9 does, and starts another one.
func (m *model) restart(clean bool) {
	switch {
	case m.w == nil:
	case clean && !m.armed:
		m.w.term(m.t)
	default:
		m.w.kill()
	}
	m.w, m.armed = m.r.start(m.t, stageSettings...), false
	m.logf("the worker was restarted, cleanly: %t", clean)
}

// crash has a worker that kills itself at some point; perhaps never.
func (m *model) crash(rt *rapid.T) {
	point := rapid.SampledFrom([]string{"after_pull", "in_batch", "after_commit", "after_publish", "before_ack"}).Draw(rt, "point")
	point = fmt.Sprintf("%s:%d", point, rapid.IntRange(1, 4).Draw(rt, "time"))
	m.w.kill()
	m.armed = true
	m.w = m.r.launch(m.t, append([]string{"LETHE_CRASH_AT=" + point}, stageSettings...)...)
	m.logf("a worker was started that crashes at %s", point)
}

// settle waits until all is quiet, and checks everything.
func (m *model) settle() {
	m.release()
	if m.armed {
		m.restart(false)
	}
	m.r.settled(m.t)
	m.logf("settled")
	e := &epoch{model: m, deleted: map[chat]int{}, deletions: map[chat]int{}}
	e.check()
}
