package handler

import (
	"time"

	"github.com/lethe-im/lethe/internal/purge"
)

// attrs are what every log line about a task carries: ids, never a body.
func (t *task) attrs() []any {
	if t.d.Erasure() {
		return t.job.traced("app", t.d.App, "conversation", t.d.Conversation, "lane", t.lane, "erasure", true)
	}
	return t.job.traced("app", t.d.App, "command", t.d.Command, "user", t.d.User, "conversation", t.d.Conversation, "lane", t.lane)
}

// traced adds the id of the command's trace, if it has one, to what a log line
// about it carries.
func (j *job) traced(attrs ...any) []any {
	if j.traceID == "" {
		return attrs
	}
	return append(attrs, "trace_id", j.traceID)
}

// logFinal writes the one line of a deletion that became final and counts it;
// for one that is only published once more, a line for debugging.
func (h *Handler) logFinal(t *task) {
	rec := t.rec
	if t.d.Erasure() {
		h.logErasure(t)
		return
	}
	attrs := append(t.attrs(), "state", rec.State, "through_seq", rec.ThroughSeq, "messages_deleted", rec.MessagesDeleted,
		"batches", t.batches, "took", time.Since(t.since).Round(time.Microsecond), "deliveries", t.job.delivery.Deliveries)
	switch {
	case !t.newlyFinal:
		h.cfg.Log.Debug("deletion re-emitted", attrs...)
		return
	case rec.State == purge.Failed:
		h.cfg.Log.Warn("deletion given up", append(attrs, "reason", rec.Reason, "error", rec.Message)...)
	default:
		if h.cfg.Store.Hides() {
			h.cfg.Metrics.MessagesHidden.Add(float64(rec.MessagesDeleted))
		}
		h.cfg.Log.Info("deletion finished", append(attrs, "conversation_removed", rec.ConversationRemoved)...)
	}
	if rec.Doubt != "" {
		h.cfg.Metrics.Doubts.Inc()
		h.cfg.Log.Warn("deletion found no message, but there may be some; check that the worker can read them, and what the plan looks up",
			append(t.attrs(), "through_seq", rec.ThroughSeq, "found", rec.Doubt)...)
	}
	if rec.Unknown {
		h.cfg.Metrics.Unknown.Inc()
		h.cfg.Log.Warn("deletion found neither a message nor the conversation's row; check user and conversation, and that the user's messages lie in this database", t.attrs()...)
	}
	h.cfg.Metrics.Deletions.WithLabelValues(t.lane, string(rec.State)).Inc()
}

// logErasure is logFinal for an erasure.
func (h *Handler) logErasure(t *task) {
	if !t.newlyFinal {
		return
	}
	rec := t.rec
	attrs := append(t.attrs(), "through_seq", rec.ThroughSeq, "batches", t.batches, "took", time.Since(t.since).Round(time.Microsecond))
	if rec.State == purge.Failed {
		h.cfg.Log.Error("erasure of a shared log given up; worker erase retries it", append(attrs, "error", rec.Message)...)
	} else {
		h.cfg.Log.Info("shared log erased through its floor", append(attrs, "messages_erased", t.erased, "conversation_removed", rec.ConversationRemoved)...)
	}
	h.cfg.Metrics.Erasures.WithLabelValues(string(rec.State)).Inc()
}
