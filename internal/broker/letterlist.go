package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
)

const (
	// letterPage is how many letters are asked for at once.
	letterPage = 256
	// letterIdle is after how long the server forgets a list that nobody reads on.
	letterIdle = 10 * time.Second
)

// errListLost: the consumer of a list has gone, for one that was read too slowly.
var errListLost = errors.New("the server has forgotten the list")

// Letters yields the dead letters without their commands, oldest first, as far as
// there are any at the beginning. It ends after the first error. Headers alone are
// read, by a consumer that the server forgets soon after: letters may be a
// megabyte each. It needs the rights STREAM.INFO, CONSUMER.CREATE and
// CONSUMER.MSG.NEXT on their stream.
func (b *Broker) Letters(ctx context.Context, filter LetterFilter) iter.Seq2[LetterInfo, error] {
	return func(yield func(LetterInfo, error) bool) {
		last, err := b.lastLetter(ctx)
		next := uint64(1)
		for err == nil && next <= last {
			from := next
			err = b.listLetters(ctx, filter, &next, last, func(l LetterInfo) bool { return yield(l, nil) })
			if errors.Is(err, errListLost) && next > from {
				err = nil // make a list of what is left
			}
		}
		if err != nil && !errors.Is(err, errStopped) {
			yield(LetterInfo{}, explainLetters(err))
		}
	}
}

// errStopped: who reads the list wants no more.
var errStopped = errors.New("stopped")

// listLetters yields the letters from next to last. It moves next behind what was
// yielded, and behind last at the end.
func (b *Broker) listLetters(ctx context.Context, filter LetterFilter, next *uint64, last uint64, yield func(LetterInfo) bool) error {
	name, left, err := b.listConsumer(ctx, filter, *next)
	for left > 0 && err == nil {
		var page []*nats.Msg
		page, err = b.letterHeaders(ctx, name, int(min(left, letterPage)))
		for _, m := range page {
			meta, merr := m.Metadata()
			if merr != nil {
				return merr
			}
			seq := meta.Sequence.Stream
			if seq > last {
				left = 0
				break
			}
			l := letterInfo(m.Subject, seq, m.Header)
			l.Size, _ = strconv.Atoi(lastOf(m.Header, headerMsgSize)) // the server writes it
			left, *next = meta.NumPending, seq+1
			if (filter.Reason == "" || filter.Reason == l.Reason) && !yield(l) {
				return errStopped
			}
		}
		if len(page) == 0 {
			break // somebody has removed the rest
		}
	}
	if err == nil {
		*next = last + 1
	}
	return err
}

// listConsumer makes the consumer of a list, and returns how many letters it has.
func (b *Broker) listConsumer(ctx context.Context, filter LetterFilter, from uint64) (name string, letters uint64, err error) {
	config := consumerConfig{
		Name: "letters-" + rand.Text(), DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from,
		AckPolicy: jetstream.AckNonePolicy, HeadersOnly: true, MemoryStorage: true, Replicas: 1, InactiveThreshold: letterIdle,
	}
	if filter.App != "" {
		config.FilterSubject = conversation.DeadLetterSubject(filter.App)
	}
	err = b.ask(ctx, "CONSUMER.CREATE."+conversation.DeadLettersStream, func(ctx context.Context) error {
		c, err := b.js.CreateConsumer(ctx, conversation.DeadLettersStream, config)
		if err == nil {
			letters = c.CachedInfo().NumPending
		}
		return err
	})
	return config.Name, letters, err
}

// letterHeaders asks the consumer of a list for n letters.
func (b *Broker) letterHeaders(ctx context.Context, consumer string, n int) (page []*nats.Msg, err error) {
	subject := "CONSUMER.MSG.NEXT." + conversation.DeadLettersStream + "." + consumer
	err = b.ask(ctx, subject, func(ctx context.Context) error {
		answers := make(chan *nats.Msg, n+1) // with the server's word at the end
		inbox := b.nc.NewInbox()
		sub, err := b.nc.ChanSubscribe(inbox, answers)
		if err != nil {
			return err
		}
		defer func() { _ = sub.Unsubscribe() }() // fails only on a closed connection
		request := fmt.Appendf(nil, `{"batch":%d,"no_wait":true}`, n)
		if err := b.nc.PublishRequest(jetstreamAPI+subject, inbox, request); err != nil {
			return err
		}
		for len(page) < n {
			select {
			case m := <-answers:
				if m.Subject != inbox {
					page = append(page, m)
					continue
				}
				switch status := m.Header.Get(headerStatus); status {
				case "404", "408":
					return nil // no more
				case "503", "409":
					return errListLost
				default:
					return fmt.Errorf("the server answers %s %s", status, m.Header.Get(headerDescription))
				}
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	return page, err
}
