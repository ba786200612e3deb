package gateway

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/examples/chat/note"
)

const (
	defaultPage = 50
	maxPage     = 500
)

// list serves GET /v1/conversations.
func (g *Gateway) list(r *request) error {
	from, err := g.from(r)
	if err != nil {
		return err
	}
	all, err := from.list(r.Context(), r.who.App, r.who.User)
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	if in, ok := g.groups(); ok {
		more, err := in.list(r.Context(), r.who.App, r.who.User)
		if err != nil {
			return fmt.Errorf("list: groups: %w", err)
		}
		all = append(all, more...)
		slices.SortStableFunc(all, func(a, b summary) int { return b.UpdatedAt.Compare(a.UpdatedAt) })
	}
	return r.answer(http.StatusOK, map[string]any{"conversations": all})
}

// history serves GET /v1/conversations/{id}/messages.
func (g *Gateway) history(r *request) error {
	id := r.PathValue("id")
	p, err := r.page()
	if err != nil {
		return err
	}
	from, err := g.reader(r, id)
	if err != nil {
		return err
	}
	messages, err := from.messages(r.Context(), r.who.App, r.who.User, id, p)
	if err != nil {
		return fmt.Errorf("history: %w", cleanText(err))
	}
	newest, err := from.newest(r.Context(), r.who.App, r.who.User, []string{id})
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	return r.answer(http.StatusOK, map[string]any{"messages": messages, "last_seq": newest[id]})
}

// page reads after, before and limit.
func (r *request) page() (p page, err error) {
	if p.after, err = r.number("after", -1, 0, math.MaxInt64); err != nil {
		return p, err
	}
	if p.before, err = r.number("before", math.MaxInt64, 0, math.MaxInt64); err != nil {
		return p, err
	}
	p.newest = p.after < 0
	p.limit, err = r.number("limit", defaultPage, 1, maxPage)
	return p, err
}

// send serves POST /v1/conversations/{id}/messages.
func (g *Gateway) send(r *request) error {
	id := r.PathValue("id")
	var body struct {
		Text string `json:"text"`
	}
	if err := r.body(&body); err != nil {
		return err
	}
	if body.Text == "" || len(body.Text) > note.MaxText {
		return badRequest(fmt.Sprintf("text: expected 1 to %d bytes", note.MaxText))
	}
	sent := copies{app: r.who.App, sender: r.who.User, text: body.Text}
	if g.shared(id) {
		return g.sendShared(r, sent, id)
	}
	var err error
	if sent.places, err = placesOf(r.who.App, r.who.User, id); err != nil {
		return err
	}
	var seq int64
	for _, part := range g.spread(sent) {
		at, err := part.store.write(r.Context(), part.copies)
		if err != nil {
			return fmt.Errorf("send: %w", cleanText(err))
		}
		for _, p := range part.places {
			if p.owner == r.who.User {
				seq = p.seq
			}
			g.note(r, sent, p, at)
		}
	}
	return r.answer(http.StatusCreated, map[string]int64{"seq": seq})
}

// sendShared is send to a shared group: one row for all members.
func (g *Gateway) sendShared(r *request, sent copies, id string) error {
	in, _ := g.groups()
	places, at, err := in.write(r.Context(), sent, id)
	if err != nil {
		return fmt.Errorf("send: %w", cleanText(err))
	}
	for _, p := range places {
		g.note(r, sent, p, at)
	}
	return r.answer(http.StatusCreated, map[string]int64{"seq": places[0].seq})
}

// members are who is in every group of the demo, where each has a copy. A real gateway asks its
// membership service.
var members = []string{"alice", "bob", "carol"}

// placesOf returns where the copies of a message go, sorted by owner.
func placesOf(app, sender, id string) ([]place, error) {
	owners := map[string]string{sender: id}
	if other, ok := strings.CutPrefix(id, "c2c_"); ok {
		if other != sender {
			owners[other] = "c2c_" + sender
		}
	} else if strings.HasPrefix(id, "group_") {
		for _, m := range members {
			owners[m] = id
		}
	} else {
		return nil, badRequest("conversation: expected c2c_<user> or group_<group>, or shared_<group> where there is a database of them")
	}
	var places []place
	for owner, name := range owners {
		// The rules for ids are the command's, so that each can be deleted.
		cmd := conversation.Command{CommandID: "-", AppID: app, UserID: owner, Conversations: []conversation.Target{{ID: name}}}
		if err := cmd.Validate(); err != nil {
			return nil, err
		}
		places = append(places, place{owner: owner, conversation: name})
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Compare(a.owner, b.owner) })
	return places, nil
}

// note tells an owner's devices of a message that is new, on a subject that no
// stream keeps. One that misses it finds it in the history.
func (g *Gateway) note(r *request, m copies, p place, at time.Time) {
	data, err := json.Marshal(note.Message{
		AppID: m.app, UserID: p.owner, ConversationID: p.conversation,
		Seq: p.seq, SenderID: m.sender, SentAt: at, Text: m.text,
	})
	if err == nil {
		err = g.NATS.Publish(note.Subject(m.app, p.owner), data)
	}
	if err != nil {
		g.Log.DebugContext(r.Context(), "note of a message", "error", err)
	}
}

// cleanText turns the database's refusal of a text, such as one with U+0000,
// into the client's fault.
func cleanText(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && strings.HasPrefix(pg.Code, "22") { // data exception
		return badRequest("the database can't store this text: " + pg.Message)
	}
	return err
}
