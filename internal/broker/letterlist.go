package broker

import (
	"context"
	"iter"

	"github.com/lethe-im/lethe/conversation"
)

const (
	// letterPage is how many letters are asked for at once, and letterPageBytes
	// about how many bytes of them: each may be a megabyte.
	letterPage      = 256
	letterPageBytes = 4 << 20
)

// Letters yields the dead letters without their commands, oldest first, as far as
// there are any at the beginning. It ends after the first error. It reads whole
// letters, by direct get: a consumer could leave the commands out, but who may make
// one says where it delivers, and nobody who lists letters should have that right.
// It needs the rights STREAM.INFO and DIRECT.GET on their stream.
func (b *Broker) Letters(ctx context.Context, filter LetterFilter) iter.Seq2[LetterInfo, error] {
	subject := subjectsOf(conversation.DeadLettersStream)[0]
	if filter.App != "" {
		subject = conversation.DeadLetterSubject(filter.App)
	}
	return func(yield func(LetterInfo, error) bool) {
		last, err := b.lastLetter(ctx)
		for next := uint64(1); err == nil && next <= last; {
			page, perr := b.directGet(ctx, conversation.DeadLettersStream,
				map[string]any{"seq": next, "next_by_subj": subject, "batch": letterPage, "max_bytes": letterPageBytes})
			if err = perr; len(page) == 0 {
				break // the rest has been removed
			}
			for _, s := range page {
				if s.Sequence > last {
					return
				}
				next = max(next, s.Sequence) + 1
				l := letterInfo(s.Subject, s.Sequence, s.Header)
				l.Size = len(s.Data)
				if (filter.Reason == "" || filter.Reason == l.Reason) && !yield(l, nil) {
					return
				}
			}
		}
		if err != nil {
			yield(LetterInfo{}, explainLetters(err))
		}
	}
}
