package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/natserr"
	"github.com/lethe-im/lethe/internal/purge"
)

// Causes of faults, as they stand in metrics.
const (
	causeDenied   = "publish_denied"
	causeNoStream = "no_stream"
	causeTooLarge = "too_large"
	causeStore    = "store"
	causeRefused  = "refused"
	causeStopping = "stopping"
)

// streamFull stands in the table for events_full, letters_full or commands_full; see [full].
const streamFull = "full"

// Errors that the client package has no name for.
var (
	errNoDirectGet = errors.New("no answer to a direct get")
	errWrongStream = errors.New("another stream took it")
)

// meaning is what an error of NATS means: its cause, and what to do about it. {what} stands
// for the stream or consumer.
type meaning struct{ cause, text string }

const noJetStream = "JetStream isn't available: enable it on the server and for this account, or set --nats-domain where the streams are in another domain"

// codes are the meanings of the server's answers.
var codes = map[jetstream.ErrorCode]meaning{
	natserr.NoResources:                              {streamFull, noRoom},
	natserr.NoMemory:                                 {streamFull, noRoom},
	natserr.NoStorage:                                {streamFull, noRoom},
	natserr.AccountLimit:                             {streamFull, noRoom},
	natserr.StreamOffline:                            {purge.CauseUnavailable, offline},
	natserr.StreamOfflineBecause:                     {purge.CauseUnavailable, offline},
	natserr.Unavailable:                              {purge.CauseUnavailable, offline},
	natserr.NoLeader:                                 {purge.CauseUnavailable, offline},
	natserr.NoPeers:                                  {purge.CauseUnavailable, "the NATS cluster has too few servers with room: use fewer replicas"},
	natserr.Replicas:                                 {causeRefused, "this NATS server is no cluster: use 1 replica"},
	natserr.StreamSealed:                             {causeRefused, "{what} is sealed: replace it and run `worker setup`"},
	natserr.SubjectOverlap:                           {causeRefused, "another stream has some of its subjects"},
	jetstream.JSErrCodeStreamMessageExceedsMaximum:   {causeTooLarge, "too large for {what}: raise its max_msg_size"},
	jetstream.JSErrCodeStreamNotFound:                {causeNoStream, missing},
	jetstream.JSErrCodeConsumerNotFound:              {causeNoStream, missing},
	jetstream.JSErrCodeJetStreamNotEnabled:           {purge.CauseUnavailable, noJetStream},
	jetstream.JSErrCodeJetStreamNotEnabledForAccount: {purge.CauseUnavailable, noJetStream},
}

const (
	noRoom  = "no room for {what}: raise the limits of the NATS server or account, free its disk, or ask for less max bytes"
	offline = "{what} isn't available: look at the NATS server"
	missing = "{what} is missing: run `worker setup`"
)

// failures are the meanings of errors without an answer of the server's. The first that
// fits counts.
var failures = []struct {
	meaning
	of []error
}{
	{meaning{causeNoStream, "another stream has the subjects of {what}: remove them there and run `worker setup`"}, []error{errWrongStream}},
	{meaning{causeNoStream, "{what} is missing or has no leader: run `worker setup`"}, []error{jetstream.ErrNoStreamResponse}},
	{meaning{causeNoStream, "{what} is missing, has no leader, or allows no direct get: look at it, and run `worker setup`"}, []error{errNoDirectGet}},
	{meaning{purge.CauseUnavailable, noJetStream}, []error{nats.ErrNoResponders}},
	{meaning{causeRefused, "{what} is a push consumer: delete it and run `worker setup` again; no command is lost"}, []error{jetstream.ErrNotPullConsumer}},
	{meaning{causeTooLarge, "too large for the NATS server: raise its max_payload"}, []error{nats.ErrMaxPayload}},
	{meaning{purge.CauseConnection, "no connection to NATS"}, []error{nats.ErrDisconnected, nats.ErrConnectionClosed, nats.ErrReconnectBufExceeded, jetstream.ErrConnectionClosed}},
	{meaning{purge.CauseTimeout, "{what} doesn't answer: look at the NATS server"}, []error{
		nats.ErrTimeout, jetstream.ErrAsyncPublishTimeout, context.DeadlineExceeded, jetstream.ErrTooManyStalledMsgs,
	}},
}

// meaningOf is the one place that says what an error about a stream or consumer means. The
// text is "" for an error that it knows nothing about.
func meaningOf(n conversation.Names, what string, err error) meaning {
	var denied *natserr.Denial
	var overlap *overlapError
	m := meaning{cause: causeRefused}
	switch code := natserr.Code(err); {
	case errors.As(err, &denied):
		m.cause = causeDenied // its text says what to do
	case errors.As(err, &overlap): // as does this one's
	case code == natserr.StoreRefused:
		m = storeRefusal(n, what, err.Error())
	case code != 0:
		if known, ok := codes[code]; ok {
			m = known
		}
	default:
		for _, f := range failures {
			for _, known := range f.of {
				if errors.Is(err, known) {
					m = f.meaning
					return meaning{m.cause, strings.ReplaceAll(m.text, "{what}", what)}
				}
			}
		}
	}
	if m.cause == streamFull {
		m.cause = full(n, what)
	}
	m.text = strings.ReplaceAll(m.text, "{what}", what)
	return m
}

// storeRefusal covers the one code for every limit and fault of a stream's store.
func storeRefusal(n conversation.Names, what, text string) meaning {
	switch {
	case strings.Contains(text, "maximum messages per subject"):
		return meaning{streamFull, "{what} takes no more on this subject: run `worker setup`, which lets the oldest go"}
	case strings.Contains(text, "maximum") && what == "stream "+n.EventsStream():
		return meaning{streamFull, "{what} is full: raise its max_bytes, or shorten its max_age"}
	case strings.Contains(text, "maximum") && what == "stream "+n.DeadLettersStream():
		return meaning{streamFull, "{what} is full: retry or drop letters with `worker dead-letters`, or raise its max_bytes"}
	case strings.Contains(text, "maximum"):
		return meaning{streamFull, "{what} is full: let workers empty it, or raise its max_bytes"}
	}
	return meaning{causeStore, "{what} can't write: look at the NATS server's disk and log"}
}

// full is the cause of a full stream.
func full(n conversation.Names, what string) string {
	switch {
	case what == "stream "+n.EventsStream():
		return "events_full"
	case what == "stream "+n.DeadLettersStream():
		return purge.CauseLettersFull
	}
	return "commands_full"
}

// explain adds to an error about a stream or consumer what to do about it.
func explain(n conversation.Names, what string, err error) error {
	if m := meaningOf(n, what, err); m.text != "" {
		return fmt.Errorf("%s: %w", m.text, err)
	}
	return err
}

// faultOf marks an error of an operation on a stream with whose fault it is: nobody's
// where the caller has stopped, and the infrastructure's otherwise.
func faultOf(caller context.Context, n conversation.Names, stream, operation string, err error) error {
	err = fmt.Errorf("%s: %w", operation, err)
	if errors.Is(caller.Err(), context.Canceled) {
		return &purge.FaultError{Fault: purge.Stopping, Cause: causeStopping, Err: err}
	}
	return &purge.FaultError{Fault: purge.Infrastructure, Cause: meaningOf(n, "stream "+stream, err).cause, Err: explain(n, "stream "+stream, err)}
}
