package handler

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/crash"
	"github.com/lethe-im/lethe/internal/purge"
)

// accept turns a delivery into the tasks of a job, or into a job that is
// refused and has none. It asks nobody but the plan's column types.
func (h *Handler) accept(d bus.Delivery, s bus.Slot) entry {
	crash.Point("after_pull")
	j := &job{delivery: d, slot: s, trace: conversation.TraceOf(d.Header), storedAt: storedAt(d)}
	h.begin(j)
	cmd, err := conversation.Decode(d.Data)
	subjectApp, named := appOfSubject(d.Subject)
	if err != nil {
		id := conversation.Identify(d.Data)
		j.app, j.user, j.command, j.device = id.AppID, id.UserID, id.CommandID, id.DeviceID
		if named {
			j.app = subjectApp // nobody may cause events in another app
		}
		j.refuse(failure{conversation.ReasonInvalidCommand, err.Error()})
		return entry{job: j}
	}
	j.app, j.user, j.command, j.device = cmd.AppID, cmd.UserID, cmd.CommandID, cmd.DeviceID
	if !conversation.SubjectFits(d.Subject, cmd.AppID) {
		j.app = subjectApp
		j.refuse(failure{conversation.ReasonAppMismatch, fmt.Sprintf(
			"the subject names app %q and the body app_id %q: publish on %s", subjectApp, cmd.AppID, conversation.SubjectShard(d.Subject).CommandSubject(cmd.AppID))})
		return entry{job: j}
	}
	return h.newEntry(j, cmd)
}

// appOfSubject returns the app that a command's subject names; "", true for what
// can't be one, about which nothing can be published.
func appOfSubject(subject string) (app string, named bool) {
	app, named = conversation.SubjectApp(subject)
	if len(app) > conversation.MaxAppID || !utf8.ValidString(app) {
		return "", named
	}
	return app, named
}

// newEntry makes a task of each conversation of the command. It refuses the whole command
// where a boundary depends on a time that nobody knows, and where the app's or the user's id
// can't be a key of the plan's tables.
func (h *Handler) newEntry(j *job, cmd conversation.Command) entry {
	if undated(j.delivery) && slices.ContainsFunc(cmd.Conversations, func(c conversation.Target) bool { return c.ThroughSeq == nil }) {
		j.refuse(failure{conversation.ReasonBoundaryRequired, "the stream that first stored the command has it no longer, so the time of its boundary isn't known: " +
			"send it again with through_seq, or keep commands in that stream for longer"})
		return entry{job: j}
	}
	e := entry{job: j, tasks: make([]*task, 0, len(cmd.Conversations))}
	digest, retry := digestOf(cmd), retryOf(j.delivery)
	for _, c := range cmd.Conversations {
		t := &task{job: j, since: time.Now(), lane: expressLane, d: purge.Deletion{
			Key:    purge.Key{App: cmd.AppID, Command: cmd.CommandID, User: cmd.UserID, Conversation: c.ID},
			Device: cmd.DeviceID, ThroughSeq: c.ThroughSeq, StoredAt: j.storedAt,
			KeepHistory: cmd.KeepHistory, RequestedAt: cmd.RequestedAt, Digest: digest, Retry: retry, Token: newToken(),
		}}
		whole, err := h.cfg.Store.Incompatible(t.d)
		if whole && err != nil {
			j.refuse(failure{refusalOf(err), err.Error()})
			return entry{job: j}
		}
		t.incompatible = err
		e.tasks = append(e.tasks, t)
	}
	j.open = len(e.tasks)
	return e
}

// refusalOf is the reason of what the store calls incompatible.
func refusalOf(err error) conversation.Reason {
	if errors.Is(err, purge.ErrBoundaryRequired) {
		return conversation.ReasonBoundaryRequired
	}
	return conversation.ReasonIncompatibleID
}

func digestOf(cmd conversation.Command) purge.Digest {
	c := purge.Content{User: cmd.UserID, Device: cmd.DeviceID, KeepHistory: cmd.KeepHistory, Targets: make([]purge.Target, len(cmd.Conversations))}
	for i, t := range cmd.Conversations {
		c.Targets[i] = purge.Target{Conversation: t.ID, ThroughSeq: t.ThroughSeq}
	}
	return purge.DigestOf(c)
}

// storedAt returns the time of the boundary: the earlier of when the stream
// stored this message and when it first stored the one that is retried.
func storedAt(d bus.Delivery) time.Time {
	first, err := time.Parse(time.RFC3339Nano, header(d, conversation.HeaderStoredAt))
	if err != nil || first.After(d.StoredAt) {
		return d.StoredAt
	}
	return first
}

// undated reports whether nothing says when a stream first stored the command.
func undated(d bus.Delivery) bool {
	_, err := time.Parse(time.RFC3339Nano, header(d, conversation.HeaderStoredAt))
	return d.Undated && err != nil
}

// retryOf returns the dead letter that the delivery retries; 0 for none.
func retryOf(d bus.Delivery) uint64 {
	n, err := strconv.ParseUint(header(d, conversation.HeaderRetry), 10, 63)
	if err != nil {
		return 0
	}
	return n
}

func header(d bus.Delivery, name string) string {
	if v := d.Header[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

func newToken() (t purge.Token) {
	_, _ = rand.Read(t[:]) // never fails
	return t
}
