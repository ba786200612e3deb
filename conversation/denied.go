package conversation

import (
	"context"
	"errors"
	"time"
)

// denialPoll is how often a call that waits for an answer looks whether it was
// refused: the server says so on the side, and the answer never comes.
const denialPoll = 50 * time.Millisecond

// untilDenied returns a context that also ends when the server refuses, from now
// on, what is published on a subject that begins with prefix, or the answers to
// it. Call done when the call is over.
func (c *Client) untilDenied(ctx context.Context, prefix string) (_ context.Context, done func()) {
	before := c.nc.LastError() // each refusal is another one
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		tick := time.NewTicker(denialPoll)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if c.nc.LastError() == before { //nolint:errorlint // the very same, and not one like it
				continue
			}
			err := c.denied("Publish", prefix)
			if err == nil {
				err = c.deniedInbox()
			}
			if err != nil {
				cancel(err)
				return
			}
		}
	}()
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
