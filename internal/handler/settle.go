package handler

import (
	"math"
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/crash"
	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/retry"
)

// settle stores the dead letters of jobs whose tasks have all ended, and settles the jobs.
func (h *Handler) settle(jobs []*job) {
	outcomes := make([]bus.Outcome, len(jobs))
	omitted := make([]bool, len(jobs))
	var letters announcements
	room := letterRoom{h: h}
	for i, j := range jobs {
		outcomes[i] = j.outcome()
		if outcomes[i].Verdict != bus.Reject {
			continue
		}
		if omitted[i] = malformed(outcomes[i].Reason) && !room.take(j.delivery); !omitted[i] {
			letters.add(j, letter(j))
		}
	}
	err := h.announce(letters)
	room.release()
	if lettersFull(err) && len(jobs) > 1 { // one at a time, so that only those wait that need a letter
		for _, j := range jobs {
			h.settle([]*job{j})
		}
		return
	}
	crash.Point("before_ack")
	for i, j := range jobs {
		o := outcomes[i]
		switch {
		case o.Verdict != bus.Reject:
		case lettersFull(err) && malformed(o.Reason):
			h.rejected(j, o.Reason, true)
		case lettersFull(err):
			o = h.awaitLetterRoom(j)
		case err != nil && !omitted[i]:
			o = bus.Outcome{Verdict: bus.Retry}
		default:
			h.rejected(j, o.Reason, omitted[i])
		}
		j.settle(o)
	}
}

// rejected logs and counts a command that is given up, with its dead letter or without.
func (h *Handler) rejected(j *job, reason conversation.Reason, omitted bool) {
	h.cfg.Metrics.DeadLetters.WithLabelValues(string(reason)).Inc()
	attrs := j.traced("app", j.app, "command", j.command, "reason", reason, "error", j.why().message)
	if omitted {
		h.cfg.Metrics.LettersOmitted.WithLabelValues(string(reason)).Inc()
		h.cfg.Log.Warn("command given up without a dead letter; their stream is half full", attrs...)
		return
	}
	h.cfg.Log.Warn("command given up", attrs...)
}

// awaitLetterRoom defers a command whose dead letter has no room: an operator has
// to make some, and everything else continues meanwhile. It is no attempt.
func (h *Handler) awaitLetterRoom(j *job) bus.Outcome {
	h.cfg.Log.Warn("stream of dead letters full; command deferred", j.traced("app", j.app, "command", j.command, "reason", j.why().reason)...)
	return bus.Outcome{Verdict: bus.Retry, Delay: letterWait - time.Duration(retry.Random()*float64(letterWait/3))}
}

// letterWait is the longest that a command is deferred whose letter has no room.
const letterWait = 30 * time.Second

// lettersFull reports whether err is that the stream of dead letters takes no more.
func lettersFull(err error) bool {
	_, cause := purge.FaultOf(err)
	return err != nil && cause == purge.CauseLettersFull
}

// malformed says of a reason that the producer's bytes are at fault, so that
// nothing can come of a retry.
func malformed(reason conversation.Reason) bool {
	return reason == conversation.ReasonInvalidCommand || reason == conversation.ReasonAppMismatch || reason == conversation.ReasonScopeMismatch
}

// letterRoom is the room for letters about malformed commands. It is asked for
// when the first one comes, and until release no other goroutine asks: what it has taken
// isn't stored before.
type letterRoom struct {
	h     *Handler
	asked bool
	bytes int64
}

// take reports whether there is room for one more, and takes it. Where nobody
// knows, there is: the stream has a limit of its own.
func (r *letterRoom) take(d bus.Delivery) bool {
	if !r.asked {
		r.asked = true
		r.h.lettersMu.Lock()
		var err error
		if r.bytes, err = r.h.cfg.Publisher.LetterRoom(r.h.working); err != nil {
			r.bytes = math.MaxInt64
		}
	}
	if r.bytes <= 0 {
		return false
	}
	r.bytes -= int64(len(d.Data))
	for name, values := range d.Header {
		for _, v := range values {
			r.bytes -= int64(len(name) + len(v))
		}
	}
	return true
}

// release lets the others ask, once the letters are stored or refused.
func (r *letterRoom) release() {
	if r.asked {
		r.h.lettersMu.Unlock()
	}
}
