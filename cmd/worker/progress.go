package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/purge"
)

// progress prints a command's events as they come: as JSON, or for people, on a
// terminal with one line that is overwritten while a deletion is running.
type progress struct {
	t    terminal
	json bool
	live bool
	line bool // the cursor is on a line that will be overwritten
	last map[string]mark
}

// mark is where a deletion was at a time, for its rate.
type mark struct {
	at      time.Time
	deleted int64
}

func newProgress(t terminal, json bool) *progress {
	return &progress{t: t, json: json, live: !json && t.live(), last: map[string]mark{}}
}

// event prints e.
func (p *progress) event(e conversation.Event) error {
	if p.json {
		return p.eventJSON(e)
	}
	p.clear()
	id := printable(e.ConversationID())
	switch {
	case e.Deleting != nil:
		return p.deleting(id, e.Deleting)
	case e.Deleted != nil:
		return p.t.printf("%s\n", deletedLine(id, e.Deleted))
	case e.Erased != nil:
		return p.t.printf("erased %s: through seq %d\n", id, e.Erased.ThroughSeq)
	case e.AllDeleted != nil:
		return p.t.printf("%s\n", allDeletedLine(e.AllDeleted))
	case e.Failed != nil && id == "":
		return p.t.printf("delete_failed: %s: %s\n", printable(string(e.Failed.Reason)), printable(e.Failed.Message))
	case e.Failed != nil:
		return p.t.printf("delete_failed %s: %s: %s\n", id, printable(string(e.Failed.Reason)), printable(e.Failed.Message))
	}
	return nil
}

func deletedLine(id string, d *conversation.Deleted) string {
	if d.Scope == conversation.ScopeEveryone {
		id += " of " + printable(d.UserID)
	}
	s := fmt.Sprintf("deleted %s: %s through seq %d", id, purge.Count(d.MessagesDeleted, "message"), d.ThroughSeq)
	if !d.Erased {
		s += "; hidden, not yet erased"
	}
	switch {
	case d.ConversationRemoved && d.HistoryKept:
		s += "; conversation removed, history kept"
	case d.ConversationRemoved:
		s += "; conversation removed"
	default:
		s += "; conversation stays"
	}
	if d.MessagesDeleted == 0 && d.ThroughSeq == 0 {
		s += "; no message was found: is it the right user and conversation?"
	}
	another := d.Scope == conversation.ScopeEveryone && d.RequestedBy != d.UserID // that was on none of this user's devices
	return s + "; " + devices(d.MultiClientSync || another, d.OriginDeviceID)
}

func allDeletedLine(d *conversation.AllDeleted) string {
	s := fmt.Sprintf("all deleted: %s, %s", purge.Count(d.Conversations, "conversation"), purge.Count(d.MessagesDeleted, "message"))
	if d.Failed > 0 {
		s += fmt.Sprintf("; %s failed", purge.Count(d.Failed, "conversation"))
	}
	return s + "; " + devices(d.MultiClientSync, d.OriginDeviceID)
}

// devices says whom an event is for.
func devices(all bool, origin string) string {
	switch {
	case all:
		return "for all devices"
	case origin == "":
		return "for no device, as the command names none"
	}
	return "for the origin device"
}

func (p *progress) deleting(id string, d *conversation.Deleting) error {
	now := time.Now()
	if p.live {
		id = shortened(id)
	}
	s := fmt.Sprintf("deleting %s: %s", id, purge.Count(d.MessagesDeleted, "message"))
	if d.ThroughSeq > 0 && d.ThroughSeq < offset {
		s += fmt.Sprintf(", %3d %%", percent(d.PurgedThroughSeq, d.ThroughSeq))
	}
	if was, ok := p.last[d.ConversationID]; ok {
		if seconds := now.Sub(was.at).Seconds(); seconds > 0 {
			s += fmt.Sprintf(", %s/s", purge.Count(int64(float64(d.MessagesDeleted-was.deleted)/seconds), "message"))
		}
	}
	p.last[d.ConversationID] = mark{now, d.MessagesDeleted}
	if d.WaitingFor != "" {
		s += ", waiting for " + printable(d.WaitingFor)
	}
	if !p.live {
		return p.t.printf("%s\n", s)
	}
	p.line = true
	return p.t.printf("%s", s)
}

// shortened keeps a line within a terminal's width, or it could not be overwritten.
func shortened(id string) string {
	const limit = 24
	runes := []rune(id)
	if len(runes) <= limit {
		return id
	}
	return string(runes[:limit]) + "…"
}

// percent is how far a deletion has come, by seq: an estimate, since seqs may have gaps. Positions from [offset] on say nothing.
func percent(done, all int64) int {
	return min(100, max(0, int(100*float64(done)/float64(all))))
}

// clear erases the line that would be overwritten.
func (p *progress) clear() {
	if p.line {
		_ = p.t.printf("\r\x1b[K") // the next line fails too, and is reported
		p.line = false
	}
}

// eventJSON prints the event's body with its type, id and sequence.
func (p *progress) eventJSON(e conversation.Event) error {
	type head struct {
		Type     string `json:"type"`
		ID       string `json:"id"`
		Sequence uint64 `json:"sequence,omitempty"`
	}
	var body any = e.Deleting
	switch {
	case e.Deleted != nil:
		body = e.Deleted
	case e.AllDeleted != nil:
		body = e.AllDeleted
	case e.Erased != nil:
		body = e.Erased
	case e.Failed != nil:
		body = e.Failed
	}
	first, err := json.Marshal(head{e.Type, e.ID, e.Sequence})
	if err != nil {
		return err
	}
	rest, err := json.Marshal(body)
	if err != nil {
		return err
	}
	first[len(first)-1] = ',' // two objects become one
	return p.t.printf("%s%s\n", first, rest[1:])
}
