package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/purge"
)

// Causes of faults, as they stand in metrics. A full stream's is made from the
// stream: events_full, letters_full, commands_full.
const (
	causeDenied      = "publish_denied"
	causeNoStream    = "no_stream"
	causeConnection  = "connection"
	causeTimeout     = "timeout"
	causeTooLarge    = "too_large"
	causeStore       = "store"
	causeUnavailable = "unavailable"
	causeRefused     = "refused"
	causeStopping    = "stopping"
)

// publishFault says whose fault it is that m isn't stored.
func (b *Broker) publishFault(caller context.Context, m stored, err error) error {
	if errors.Is(caller.Err(), context.Canceled) {
		return &purge.FaultError{Fault: purge.Stopping, Cause: causeStopping, Err: fmt.Errorf("publish on %s: %w", m.msg.Subject, err)}
	}
	if errors.Is(err, nats.ErrTimeout) && !b.nc.IsConnected() {
		err = fmt.Errorf("%w: %w", nats.ErrDisconnected, err)
	}
	cause, what := classify(m.stream, err)
	return &purge.FaultError{Fault: purge.Infrastructure, Cause: cause, Err: fmt.Errorf("%s (publish on %s): %w", what, m.msg.Subject, err)}
}

// classify returns the cause of a refused publish for stream, and what is to be
// done about it.
func classify(stream string, err error) (cause, what string) {
	var denied *denial
	var wrong *wrongStreamError
	switch {
	case errors.As(err, &denied):
		return causeDenied, "NATS doesn't allow it"
	case errors.As(err, &wrong):
		return causeNoStream, "another stream has the subjects of " + stream + ": remove them there and run `worker setup`"
	case code(err) != 0:
		return classifyCode(stream, code(err), err)
	case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrNoResponders):
		return causeNoStream, "stream " + stream + " is missing or has no leader: run `worker setup`"
	case errors.Is(err, nats.ErrMaxPayload):
		return causeTooLarge, "too large for the NATS server: raise its max_payload"
	case errors.Is(err, nats.ErrDisconnected), errors.Is(err, nats.ErrConnectionClosed),
		errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, jetstream.ErrConnectionClosed):
		return causeConnection, "no connection to NATS"
	case errors.Is(err, nats.ErrTimeout), errors.Is(err, jetstream.ErrAsyncPublishTimeout),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, jetstream.ErrTooManyStalledMsgs):
		return causeTimeout, "stream " + stream + " doesn't answer"
	}
	return causeRefused, "stream " + stream + " didn't store it"
}

// classifyCode covers the answers of the server.
func classifyCode(stream string, c jetstream.ErrorCode, err error) (cause, what string) {
	switch c {
	case codeStoreRefused:
		// One code for every fault of the store; only the text tells a limit.
		if strings.Contains(err.Error(), "maximum messages per subject") {
			return full(stream), "stream " + stream + " takes no more on this subject: run `worker setup`, which lets the oldest go"
		}
		if strings.Contains(err.Error(), "maximum") {
			return full(stream), fullText(stream)
		}
		return causeStore, "stream " + stream + " can't write: look at the NATS server's disk and log"
	case codeNoResources, codeNoMemory, codeNoStorage, codeAccountLimit:
		return full(stream), "no room for stream " + stream + ": raise the limits of the NATS server or account, or free its disk"
	case jetstream.JSErrCodeStreamMessageExceedsMaximum:
		return causeTooLarge, "too large for stream " + stream + ": raise its max_msg_size"
	case codeStreamOffline, codeStreamOfflineWhy, codeUnavailable, codeNoLeader, codeNoPeers,
		jetstream.JSErrCodeJetStreamNotEnabled, jetstream.JSErrCodeJetStreamNotEnabledForAccount:
		return causeUnavailable, "stream " + stream + " isn't available: look at the NATS server"
	case codeStreamSealed:
		return causeRefused, "stream " + stream + " is sealed: replace it and run `worker setup`"
	case jetstream.JSErrCodeStreamNotFound:
		return causeNoStream, "stream " + stream + " is missing: run `worker setup`"
	}
	return causeRefused, "stream " + stream + " didn't store it"
}

func full(stream string) string {
	switch stream {
	case conversation.EventsStream:
		return "events_full"
	case conversation.DeadLettersStream:
		return "letters_full"
	}
	return "commands_full"
}

func fullText(stream string) string {
	switch stream {
	case conversation.EventsStream:
		return "stream " + stream + " is full: raise its max_bytes, or shorten its max_age"
	case conversation.DeadLettersStream:
		return "stream " + stream + " is full: retry or drop letters with `worker dead-letters`, or raise its max_bytes"
	}
	return "stream " + stream + " is full: let workers empty it, or raise its max_bytes"
}
