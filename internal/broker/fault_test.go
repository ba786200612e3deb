package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/natserr"
)

func TestMeaningOf(t *testing.T) {
	t.Parallel()
	api := func(c jetstream.ErrorCode, text string) error {
		return &jetstream.APIError{ErrorCode: c, Description: text}
	}
	const events, letters, commands = "stream " + conversation.EventsStream, "stream " + conversation.DeadLettersStream, "stream " + conversation.CommandsStream
	for _, tt := range []struct {
		what        string
		err         error
		cause, says string
	}{
		{events, api(10077, "maximum bytes exceeded"), "events_full", "stream CONVERSATION_EVENTS is full: raise its max_bytes, or shorten its max_age"},
		{events, api(10077, "maximum messages exceeded"), "events_full", "is full"},
		{events, api(10077, "maximum messages per subject exceeded"), "events_full", "takes no more on this subject: run `worker setup`"},
		{events, api(10077, "no space left on device"), "store", "can't write: look at the NATS server's disk and log"},
		{letters, api(10077, "maximum bytes exceeded"), "letters_full", "retry or drop letters with `worker dead-letters`"},
		{commands, api(10077, "maximum bytes exceeded"), "commands_full", "let workers empty it"},
		{commands + "_CONVERSATION_EVENTS", api(10077, "maximum bytes exceeded"), "commands_full", "let workers empty it"}, // of a shard
		{commands + "_CONVERSATION_DEAD_LETTERS", api(10077, "maximum bytes exceeded"), "commands_full", "let workers empty it"},
		{events, api(10023, "insufficient resources"), "events_full", "no room for stream CONVERSATION_EVENTS: raise the limits"},
		{letters, api(10047, "insufficient storage resources available"), "letters_full", "no room"},
		{events, api(10002, "resource limits exceeded for account"), "events_full", "no room"},
		{letters, api(10054, "message size exceeds maximum allowed"), "too_large", "raise its max_msg_size"},
		{events, api(10008, "JetStream system temporarily unavailable"), "unavailable", "isn't available: look at the NATS server"},
		{events, api(10118, "stream is offline"), "unavailable", "isn't available: look at the NATS server"},
		{events, api(10005, "no suitable peers for placement"), "unavailable", "use fewer replicas"},
		{events, api(10074, "replicas > 1 not supported in non-clustered mode"), "refused", "use 1 replica"},
		{events, api(10065, "subjects overlap with an existing stream"), "refused", "another stream has some of its subjects"},
		{events, api(10109, "invalid operation on sealed stream"), "refused", "is sealed"},
		{events, api(10059, "stream not found"), "no_stream", "is missing: run `worker setup`"},
		{"consumer C", api(10014, "consumer not found"), "no_stream", "consumer C is missing: run `worker setup`"},
		{"consumer C", jetstream.ErrNotPullConsumer, "refused", "consumer C is a push consumer: delete it"},
		{events, jetstream.ErrJetStreamNotEnabled, "unavailable", "JetStream isn't available: enable it"},
		{events, jetstream.ErrJetStreamNotEnabledForAccount, "unavailable", "JetStream isn't available: enable it"},
		{events, nats.ErrNoResponders, "unavailable", "JetStream isn't available: enable it"},
		{events, errNoDirectGet, "no_stream", "allows no direct get"},
		{events, jetstream.ErrNoStreamResponse, "no_stream", "is missing or has no leader"},
		{events, errWrongStream, "no_stream", "another stream has the subjects of stream CONVERSATION_EVENTS"},
		{events, nats.ErrMaxPayload, "too_large", "raise its max_payload"},
		{events, nats.ErrDisconnected, "connection", "no connection to NATS"},
		{events, nats.ErrReconnectBufExceeded, "connection", "no connection to NATS"},
		{events, jetstream.ErrAsyncPublishTimeout, "timeout", "doesn't answer"},
		{events, context.DeadlineExceeded, "timeout", "doesn't answer"},
		{events, &natserr.Denial{Operation: natserr.Publish, Subject: "s", Err: nats.ErrPermissionViolation}, "publish_denied", ""},
		{events, api(12345, "new"), "refused", ""},
		{events, errors.New("new"), "refused", ""},
	} {
		err := fmt.Errorf("wrapped: %w", tt.err)
		got := meaningOf(conversation.Names{}, tt.what, err)
		if got.cause != tt.cause || !strings.Contains(got.text, tt.says) || tt.says == "" && got.text != "" {
			t.Errorf("meaningOf(%s, %v) = %+v; want %s: %s", tt.what, tt.err, got, tt.cause, tt.says)
		}
		if explained := explain(conversation.Names{}, tt.what, err); !errors.Is(explained, tt.err) || !strings.HasPrefix(explained.Error(), got.text) {
			t.Errorf("explain(%s, %v) = %v", tt.what, tt.err, explained)
		}
	}
}
