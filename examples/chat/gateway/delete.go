package gateway

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/lethe-im/lethe/conversation"
)

// deletion is the body of a request to delete.
type deletion struct {
	// Conversations are what to delete; absent where the path names the one.
	Conversations []conversation.Target `json:"conversations"`
	// ThroughSeq is the newest message that the user saw, where the path names
	// the conversation.
	ThroughSeq *int64 `json:"through_seq"`
	// KeepHistory removes the conversations from the list alone.
	KeepHistory bool `json:"keep_history"`
	// KeepConversation deletes the messages alone.
	KeepConversation bool `json:"keep_conversation"`
	// AllConversations asks for all that the user has, instead of Conversations.
	AllConversations bool `json:"all_conversations"`
	// Scope is "everyone" where all members are to lose the conversation.
	Scope string `json:"scope"`
}

// deleteOne serves POST /v1/conversations/{id}:delete.
func (g *Gateway) deleteOne(r *request) error {
	id, verb, err := r.idAndVerb()
	if err != nil {
		return err
	}
	if verb != "delete" {
		return errNoRoute
	}
	var d deletion
	if err := r.body(&d); err != nil {
		return err
	}
	d.Conversations = []conversation.Target{{ID: id, ThroughSeq: d.ThroughSeq}}
	return g.delete(r, d)
}

// deleteMany serves POST /v1/conversations:delete.
func (g *Gateway) deleteMany(r *request) error {
	var d deletion
	if err := r.body(&d); err != nil {
		return err
	}
	if d.ThroughSeq != nil {
		return badRequest("through_seq belongs to each of the conversations")
	}
	return g.delete(r, d)
}

// delete publishes the command. It is done when the stream has stored it; the
// devices are told by an event when the messages have gone.
func (g *Gateway) delete(r *request, d deletion) error {
	cmd := conversation.Command{
		CommandID:        "-", // until it is known to be sound
		AppID:            r.who.App,
		UserID:           r.who.User,   // of the token, never of the body
		DeviceID:         r.who.Device, // the device that hears of it in any case
		Conversations:    d.Conversations,
		AllConversations: d.AllConversations,
		Scope:            d.Scope,
		KeepHistory:      d.KeepHistory,
		KeepConversation: d.KeepConversation,
		RequestedAt:      g.clock(),
	}
	if err := cmd.Validate(); err != nil {
		return err
	}
	cost := len(cmd.Conversations)
	if cmd.AllConversations {
		cost = conversation.MaxConversations
	}
	if err := g.allow(r, cost); err != nil {
		return err
	}
	if err := g.permit(r, cmd); err != nil {
		return err
	}
	cmd, err := g.command(r, cmd)
	if err != nil {
		return err
	}
	answer := map[string]string{"command_id": cmd.CommandID}
	client := g.client
	if g.ofGroups(cmd) {
		client = g.toGroups
	}
	if _, err := client.Delete(r.Context(), cmd); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	// A command reaches one database. The second has an id of its own: so have its events.
	if _, ok := g.groups(); ok && cmd.AllConversations {
		cmd.CommandID += "-groups"
		answer["groups_command_id"] = cmd.CommandID
		if _, err := g.toGroups.Delete(r.Context(), cmd); err != nil {
			return fmt.Errorf("delete: groups: %w", err)
		}
	}
	return r.answer(http.StatusAccepted, answer)
}

// ofGroups reports whether a command names shared groups.
func (g *Gateway) ofGroups(cmd conversation.Command) bool {
	return slices.ContainsFunc(cmd.Conversations, func(t conversation.Target) bool { return g.shared(t.ID) })
}

// permit refuses what can't be one command, and what the user may not do: only the owner of
// a shared group deletes it for everyone. A worker doesn't know who may.
func (g *Gateway) permit(r *request, cmd conversation.Command) error {
	everyone := cmd.Scope == conversation.ScopeEveryone
	if !g.ofGroups(cmd) {
		if everyone {
			return errNotOwner
		}
		return nil
	}
	ids := make([]string, len(cmd.Conversations))
	for i, t := range cmd.Conversations {
		if ids[i] = t.ID; !g.shared(t.ID) {
			return badRequest("conversations: shared groups lie in another database: delete them by another request")
		}
	}
	if cmd.KeepHistory {
		return badRequest("keep_history: is not for shared groups, whose row is the membership")
	}
	if !everyone {
		return nil
	}
	in, _ := g.groups()
	owner, err := in.owns(r.Context(), cmd.AppID, cmd.UserID, ids)
	if err == nil && !owner {
		err = errNotOwner
	}
	return err
}

// allow bounds how many conversations a user, and all of the app's users, may
// delete. In doubt the same request counts again: the answer says when to repeat it.
func (g *Gateway) allow(r *request, conversations int) error {
	if wait := g.deletions.Take(g.clock(), r.who.User, float64(conversations)); wait > 0 {
		return tooMany("deletions", wait)
	}
	return nil
}

// bound gives each conversation a boundary that is no further than the newest
// message that there is now: what is sent from now on survives, however late the
// workers are and whatever the device asked for. Without a wish the newest is it.
func (g *Gateway) bound(ctx context.Context, cmd *conversation.Command) error {
	ids := make([]string, len(cmd.Conversations))
	for i, t := range cmd.Conversations {
		ids[i] = t.ID
	}
	var in reader = g.storeOf(cmd.AppID, cmd.UserID) // not a standby, which may not know yet what the user saw
	if groups, ok := g.groups(); ok && g.ofGroups(*cmd) {
		in = groups
	}
	newest, err := in.newest(ctx, cmd.AppID, cmd.UserID, ids)
	if err != nil {
		return fmt.Errorf("newest messages: %w", cleanText(err))
	}
	for i, t := range cmd.Conversations {
		seq := newest[t.ID] // 0 where there is none
		if t.ThroughSeq != nil {
			seq = min(seq, *t.ThroughSeq)
		}
		cmd.Conversations[i].ThroughSeq = &seq
	}
	return nil
}
