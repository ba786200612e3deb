package handler

import (
	"context"
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/retry"
)

// event returns the event of a final deletion.
func event(j *job, rec purge.Record) bus.Announcement {
	a := bus.Announcement{Sequence: j.delivery.Sequence, Trace: j.trace}
	if rec.State == purge.Failed {
		a.Failed = &conversation.DeleteFailed{
			CommandID: rec.Command, AppID: rec.App, UserID: rec.User, ConversationID: rec.Conversation,
			Reason: conversation.Reason(rec.Reason), Message: rec.Message, OriginDeviceID: rec.Device, FailedAt: rec.FailedAt,
		}
		return a
	}
	a.Deleted = &conversation.Deleted{
		CommandID: rec.Command, AppID: rec.App, UserID: rec.User, ConversationID: rec.Conversation,
		ThroughSeq: rec.ThroughSeq, MessagesDeleted: rec.MessagesDeleted,
		HistoryKept: rec.HistoryKept, ConversationRemoved: rec.ConversationRemoved,
		Erased: rec.Erased, Scope: string(rec.Scope), RequestedBy: rec.RequestedBy,
		MultiClientSync: rec.MultiClientSync, OriginDeviceID: rec.Device,
		RequestedAt: rec.RequestedAt, CompletedAt: rec.CompletedAt,
	}
	return a
}

// refusalEvent returns the event of a command that failed as a whole; false where
// its receiver is not known.
func refusalEvent(j *job) (bus.Announcement, bool) {
	if j.app == "" || j.user == "" {
		return bus.Announcement{}, false
	}
	f := j.why()
	return bus.Announcement{Sequence: j.delivery.Sequence, Trace: j.trace, Failed: &conversation.DeleteFailed{
		CommandID: j.command, AppID: j.app, UserID: j.user, Reason: f.reason, Message: f.message,
		OriginDeviceID: j.device, FailedAt: time.Now(),
	}}, true
}

// letter returns the dead letter of a job that failed.
func letter(j *job) bus.Announcement {
	f := j.why()
	return bus.Announcement{Sequence: j.delivery.Sequence, Trace: j.trace, Letter: &bus.Letter{
		Delivery: j.delivery, App: j.app, Reason: f.reason, Error: f.message, StoredAt: j.storedAt, FailedAt: time.Now(),
	}}
}

// announcements are what is to be stored together.
type announcements struct {
	all    []bus.Announcement
	traced []tracedAnnouncement
}

// tracedAnnouncement is one, by its index, whose command is recorded.
type tracedAnnouncement struct {
	index int
	job   *job
}

// add adds one about j.
func (as *announcements) add(j *job, a bus.Announcement) {
	if j.span != nil {
		as.traced = append(as.traced, tracedAnnouncement{len(as.all), j})
	}
	as.all = append(as.all, a)
}

// announce is publishUntilStored with spans.
func (h *Handler) announce(as announcements) error {
	if len(as.all) == 0 {
		return nil
	}
	spans := h.beginPublish(as)
	err := h.publishUntilStored(as.all)
	for _, span := range spans {
		end(span, err)
	}
	return err
}

// publishUntilStored stores the announcements, however long that takes: while it fails
// the gate is closed, and what is in flight waits here, with its heartbeats. The
// repetition is the probe. It gives up when the worker stops, and when the stream
// of dead letters is full, which need not block other commands.
func (h *Handler) publishUntilStored(as []bus.Announcement) error {
	closed := ""
	open := func() {
		if closed != "" {
			h.cfg.Gate.Open(closed)
		}
	}
	defer open()
	_, err := retry.Do(h.stopping, publishPolicy, func() (struct{}, error) { return struct{}{}, h.cfg.Publisher.Publish(h.working, as) }, func(err error) bool {
		_, cause := purge.FaultOf(err)
		h.cfg.Metrics.Retries.WithLabelValues(cause).Inc()
		if lettersFull(err) {
			return false
		}
		if closed != cause {
			open()
			closed = cause
		}
		if h.cfg.Gate.Close(cause, err.Error()) {
			h.cfg.Log.Warn("events can't be stored; not pulling commands", "reason", cause, "error", err)
		}
		return true
	})
	if err != nil && !lettersFull(err) {
		return context.Cause(h.stopping)
	}
	return err
}

// publishPolicy never gives up by itself.
var publishPolicy = retry.Policy{First: 50 * time.Millisecond, Max: 2 * time.Second}
