package gateway

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"github.com/jackc/pgx/v5"
)

const (
	hugeGroup = "group_huge"
	hugeMost  = 5_000_000
	hugeBatch = 20_000 // messages in one transaction, some 0.2 s
)

// hugeState is how far a user's huge group is filled.
type hugeState struct {
	State    string `json:"state"` // none, running, done or failed
	Messages int64  `json:"messages"`
	Done     int64  `json:"done"`
	Message  string `json:"message,omitempty"` // why it failed
}

// huge remembers the state for each user, as long as the gateway runs.
type huge struct {
	mu     sync.Mutex // guards states
	states map[string]hugeState
}

func newHuge() *huge { return &huge{states: map[string]hugeState{}} }

func (h *huge) get(user string) hugeState {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, ok := h.states[user]
	if !ok {
		s.State = "none"
	}
	return s
}

func (h *huge) set(user string, s hugeState) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.states[user] = s
}

// begin reports false if one is running.
func (h *huge) begin(user string, messages int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.states[user].State == "running" {
		return false
	}
	h.states[user] = hugeState{State: "running", Messages: messages}
	return true
}

// hugeState serves GET /v1/demo/huge.
func (g *Gateway) hugeState(r *request) error {
	return r.answer(http.StatusOK, g.huge.get(r.who.User))
}

// fillHuge serves POST /v1/demo/huge. It goes on after the answer.
func (g *Gateway) fillHuge(r *request) error {
	var body struct {
		Messages int64 `json:"messages"`
	}
	if err := r.body(&body); err != nil {
		return err
	}
	if body.Messages < 1 || body.Messages > hugeMost {
		return badRequest(fmt.Sprintf("messages: expected 1 to %d", hugeMost))
	}
	app, user := r.who.App, r.who.User
	if !g.huge.begin(user, body.Messages) {
		return refuse(http.StatusConflict, "running", "the group is being filled")
	}
	g.jobs.Go(func() { g.fill(app, user, body.Messages) })
	return r.answer(http.StatusAccepted, g.huge.get(user))
}

func (g *Gateway) fill(app, user string, messages int64) {
	s := hugeState{State: "running", Messages: messages}
	for s.Done < messages {
		n := min(hugeBatch, messages-s.Done)
		if err := g.storeOf(app, user).fill(g.life, app, user, s.Done, n); err != nil {
			g.Log.Warn("huge group", "user", user, "error", err)
			s.State, s.Message = "failed", "the database could not be written to"
			g.huge.set(user, s)
			return
		}
		s.Done += n
		g.huge.set(user, s)
	}
	s.State = "done"
	g.huge.set(user, s)
}

// fill adds n messages, after so many, to a user's copy of the huge group. It takes
// their seqs from the counter at once.
func (s store) fill(ctx context.Context, app, user string, after, n int64) error {
	return pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		var last int64
		err := tx.QueryRow(ctx, `
insert into chat.counters as c (app_id, user_id, last_seq) values ($1, $2, $3)
on conflict (app_id, user_id) do update set last_seq = c.last_seq + excluded.last_seq
returning last_seq`, app, user, n).Scan(&last)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `
insert into chat.messages (app_id, user_id, conversation_id, seq, sender_id, body)
select $1, $2, $3, $4::bigint + i, 'bob', jsonb_build_object('text', 'Message ' || to_char($5::bigint + i, 'FM999,999,999'))
from generate_series(1, $6::bigint) i`, app, user, hugeGroup, last-n, after, n); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
insert into chat.conversations as c (app_id, user_id, conversation_id, last_seq, unread_count)
values ($1, $2, $3, $4, $5)
on conflict (app_id, user_id, conversation_id) do update
set last_seq = excluded.last_seq, unread_count = c.unread_count + excluded.unread_count, updated_at = excluded.updated_at`,
			app, user, hugeGroup, last, n)
		return err
	})
}
