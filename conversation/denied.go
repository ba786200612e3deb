package conversation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/internal/natserr"
)

// denialPoll is how often a call that waits for an answer checks whether it was
// refused: the server says so on the side, and the answer never comes. The connection's
// error handler, which is called at once, is the caller's.
const denialPoll = 50 * time.Millisecond

// untilDenied returns a context that also ends when the server refuses, from now
// on, what is published on the subject, or the answers to it. Call done when the call
// is over.
func (c *Client) untilDenied(ctx context.Context, subject string) (_ context.Context, done func()) {
	before := c.nc.LastError() // each refusal is another one
	ctx, cancel := context.WithCancelCause(ctx)
	var poll func()
	poll = func() {
		if ctx.Err() != nil {
			return
		}
		if c.nc.LastError() != before { //nolint:errorlint // the very same, and not one like it
			if err := c.denied(subject); err != nil {
				cancel(err)
				return
			}
		}
		time.AfterFunc(denialPoll, poll)
	}
	time.AfterFunc(denialPoll, poll)
	return ctx, func() { cancel(nil) }
}

// orDenied returns why ctx of untilDenied has ended, if that was a refusal, and
// err otherwise.
func orDenied(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, ErrNotPermitted) {
		return cause
	}
	return err
}

// denied returns an error if the connection's last error refuses to publish on the
// subject, of which one that ends in a dot stands for all that begin with it, or to
// listen for answers.
func (c *Client) denied(subject string) error {
	if err := c.refused(natserr.Publish, subject); err != nil {
		return err
	}
	inbox := c.nc.Opts.InboxPrefix
	if inbox == "" {
		inbox = nats.InboxPrefix
	}
	return c.refused(natserr.Subscribe, strings.TrimSuffix(inbox, ".")+".")
}

func (c *Client) refused(operation, subject string) error {
	d, ok := natserr.AsDenial(c.nc.LastError())
	if !ok || d.Operation != operation || d.Subject != subject && !(strings.HasSuffix(subject, ".") && strings.HasPrefix(d.Subject, subject)) {
		return nil
	}
	return fmt.Errorf("%w: allow it in this NATS user's permissions: %w", ErrNotPermitted, d.Err)
}
