package conversation

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/internal/natserr"
)

var (
	// ErrNoStream: a stream of the contract doesn't exist where the client looks.
	ErrNoStream = errors.New("the stream is missing")
	// ErrStreamFull: the stream takes no more until something leaves it.
	ErrStreamFull = errors.New("the stream is full")
	// ErrAppFull: the stream takes no more of this app until workers have finished
	// some of its commands. Other apps go on.
	ErrAppFull = errors.New("the app has too many unfinished commands")
	// ErrTooLarge: the command exceeds what the server or the stream takes.
	ErrTooLarge = errors.New("the command is too large")
	// ErrNotPermitted: the NATS user lacks a permission.
	ErrNotPermitted = errors.New("not permitted")
	// ErrUnconfirmed: no answer came. The command may be stored or not; sending
	// it again with the same id is safe.
	ErrUnconfirmed = errors.New("no answer from the stream")
	// ErrFeedClosed: Next was called on, or interrupted by, a closed Feed.
	ErrFeedClosed = errors.New("the feed is closed")
	// ErrCursorExpired: events after the cursor may have been removed from the
	// stream. The device must reload its list and follow from now.
	ErrCursorExpired = errors.New("events after the cursor may be gone")
)

// explainPublish turns a publish error into one that says what to do.
func (c *Client) explainPublish(msg *nats.Msg, err error) error {
	subject := msg.Subject
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api):
		return c.explainRefusal(subject, api)
	case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%w: none takes %s: run `worker setup`, or enable JetStream", ErrNoStream, subject)
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %d bytes and headers, of %d that the server takes: name fewer conversations in each command",
			ErrTooLarge, len(msg.Data), c.nc.MaxPayload())
	case errors.Is(err, context.Canceled), errors.Is(err, ErrNotPermitted):
		return err
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return c.explainSilence(subject, err)
	}
	return fmt.Errorf("publish on %s: %w", subject, err)
}

// explainRefusal covers the answers of the server.
func (c *Client) explainRefusal(subject string, api *jetstream.APIError) error {
	stream := c.names.InShard(SubjectShard(c.names.Unprefixed(subject))).CommandsStream()
	switch api.ErrorCode {
	case natserr.StoreRefused: // for each limit, and for faults of the disk; only the text says which
		if strings.Contains(api.Description, "maximum messages per subject") {
			return fmt.Errorf("%w on %s: let workers finish some and send again later, or raise --commands-max-per-app of `worker setup`: %w",
				ErrAppFull, subject, api)
		}
		if !strings.Contains(api.Description, "maximum") { // else the disk, not a limit
			break
		}
		fallthrough
	case natserr.NoResources, natserr.NoMemory, natserr.NoStorage, natserr.AccountLimit:
		return fmt.Errorf("%w: %s: %s: let workers empty it or raise its limits, then send again: %w",
			ErrStreamFull, stream, api.Description, api)
	case jetstream.JSErrCodeStreamMessageExceedsMaximum:
		return fmt.Errorf("%w for %s: name fewer conversations in each command: %w", ErrTooLarge, stream, api)
	case natserr.StreamOffline, jetstream.JSErrCodeJetStreamNotEnabledForAccount, jetstream.JSErrCodeJetStreamNotEnabled:
		return fmt.Errorf("%w: JetStream isn't available: %w", ErrNoStream, api)
	}
	return fmt.Errorf("publish on %s: %w", subject, api)
}

// explainSilence finds out why no answer came.
func (c *Client) explainSilence(subject string, err error) error {
	if denied := c.denied(subject); denied != nil {
		return denied
	}
	if !c.nc.IsConnected() {
		return fmt.Errorf("%w: NATS is %s: send again with the same id: %w",
			ErrUnconfirmed, strings.ToLower(c.nc.Status().String()), err)
	}
	return fmt.Errorf("%w: send again with the same id: %w", ErrUnconfirmed, err)
}

// explainStream turns an error about a stream into one that says what to do.
func (c *Client) explainStream(stream string, err error) error {
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("%w: %s: run `worker setup`: %w", ErrNoStream, stream, err)
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled),
		errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount), errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%w: JetStream isn't available: enable it, or set its domain: %w", ErrNoStream, err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		if denied := c.denied("$JS."); denied != nil {
			return denied
		}
	}
	return err
}
