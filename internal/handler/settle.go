package handler

import (
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/crash"
)

// settle ends jobs whose tasks are all closed.
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
