package handler

import (
	"cmp"
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
// refused and has none. It asks nobody but the plan's column types. What is refused here is
// refused before the ledger knows of it.
func (h *Handler) accept(d bus.Delivery, s bus.Slot) entry {
	crash.Point("after_pull")
	j := &job{delivery: d, slot: s, trace: conversation.TraceOf(d.Header), storedAt: storedAt(d)}
	h.begin(j)
	cmd, err := conversation.Decode(d.Data)
	subject := h.cfg.Names.Unprefixed(d.Subject)
	subjectApp, named := appOfSubject(subject)
	if err != nil {
		id := conversation.Identify(d.Data)
		j.app, j.user, j.command, j.device = id.AppID, id.UserID, id.CommandID, id.DeviceID
		if named {
			j.app = subjectApp // nobody may cause events in another app
		}
		return j.refusedAs(conversation.ReasonInvalidCommand, err.Error())
	}
	j.app, j.user, j.command, j.device = cmd.AppID, cmd.UserID, cmd.CommandID, cmd.DeviceID
	if !conversation.SubjectFits(subject, cmd.AppID) {
		j.app = subjectApp
		return j.refusedAs(conversation.ReasonAppMismatch, fmt.Sprintf(
			"the subject names app %q and the body app_id %q: publish on %s", subjectApp, cmd.AppID, h.subjectFor(subject, cmd)))
	}
	if scope := scopeOf(cmd); scope != conversation.SubjectScope(subject) {
		return j.refusedAs(conversation.ReasonScopeMismatch, fmt.Sprintf(
			"the subject is for commands with scope %q and the body has %q: publish on %s", conversation.SubjectScope(subject), scope, h.subjectFor(subject, cmd)))
	}
	if undated(d) && (cmd.AllConversations || slices.ContainsFunc(cmd.Conversations, func(c conversation.Target) bool { return c.ThroughSeq == nil })) {
		return j.refusedAs(conversation.ReasonBoundaryRequired, "the stream that first stored the command has it no longer, so the time of its boundary isn't known: "+
			"send it again with through_seq, or keep commands in that stream for longer")
	}
	if cmd.AllConversations || cmd.Scope == conversation.ScopeEveryone {
		return h.enumerate(j, cmd)
	}
	return h.newEntry(j, cmd)
}

// refusedAs refuses the whole command.
func (j *job) refusedAs(reason conversation.Reason, message string) entry {
	j.refuse(failure{reason, message})
	return entry{job: j}
}

// subjectFor is where the command should have been published that came on a subject, which
// is without the prefix.
func (h *Handler) subjectFor(subject string, cmd conversation.Command) string {
	names := h.cfg.Names.InShard(conversation.SubjectShard(subject))
	if cmd.Scope == conversation.ScopeEveryone {
		return names.DeleteEveryoneSubject(cmd.AppID)
	}
	return names.CommandSubject(cmd.AppID)
}

func scopeOf(cmd conversation.Command) string { return cmp.Or(cmd.Scope, conversation.ScopeSelf) }

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
// where the app's or the user's id can't be a key of the plan's tables, and where the plan
// can't do what is asked.
func (h *Handler) newEntry(j *job, cmd conversation.Command) entry {
	e := entry{job: j, tasks: make([]*task, 0, len(cmd.Conversations))}
	d := j.deletion(cmd)
	for _, c := range cmd.Conversations {
		d.Conversation, d.ThroughSeq, d.Token = c.ID, c.ThroughSeq, newToken()
		t := &task{job: j, since: time.Now(), lane: expressLane, d: d}
		whole, err := h.cfg.Store.Incompatible(t.d)
		if whole && err != nil {
			return j.refusedAs(refusalOf(err), err.Error())
		}
		t.incompatible = err
		e.tasks = append(e.tasks, t)
	}
	j.open = len(e.tasks)
	return e
}

// refusalOf is the reason of what the store calls incompatible.
func refusalOf(err error) conversation.Reason {
	switch {
	case errors.Is(err, purge.ErrBoundaryRequired):
		return conversation.ReasonBoundaryRequired
	case errors.Is(err, purge.ErrUnsupportedScope):
		return conversation.ReasonUnsupportedScope
	}
	return conversation.ReasonIncompatibleID
}

// deletion is what all deletions of the command have in common: for scope "everyone" the user
// is who asks, until the member is known.
func (j *job) deletion(cmd conversation.Command) purge.Deletion {
	d := purge.Deletion{
		Key:    purge.Key{App: cmd.AppID, Command: cmd.CommandID, User: cmd.UserID},
		Device: cmd.DeviceID, StoredAt: j.storedAt, KeepHistory: cmd.KeepHistory, KeepConversation: cmd.KeepConversation,
		RequestedAt: cmd.RequestedAt, Digest: digestOf(cmd), Retry: retryOf(j.delivery),
	}
	if cmd.Scope == conversation.ScopeEveryone {
		d.Scope, d.RequestedBy = purge.ScopeEveryone, cmd.UserID
	}
	return d
}

func digestOf(cmd conversation.Command) purge.Digest {
	c := purge.Content{
		User: cmd.UserID, Device: cmd.DeviceID, KeepHistory: cmd.KeepHistory, Targets: make([]purge.Target, len(cmd.Conversations)),
		AllConversations: cmd.AllConversations, KeepConversation: cmd.KeepConversation,
	}
	if cmd.Scope == conversation.ScopeEveryone {
		c.Scope = purge.ScopeEveryone
	}
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
