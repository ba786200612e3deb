package natserr

import (
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestCode(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]jetstream.ErrorCode{
		nil:                          0,
		errors.New("other"):          0,
		jetstream.ErrNotPullConsumer: 0,
		jetstream.ErrStreamNotFound:  jetstream.JSErrCodeStreamNotFound,
		&jetstream.APIError{ErrorCode: NoStorage}: NoStorage,
	} {
		if err != nil {
			err = fmt.Errorf("wrapped: %w", err)
		}
		if got := Code(err); got != want {
			t.Errorf("Code(%v) = %d; want %d", err, got, want)
		}
	}
}

func TestAsDenial(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text               string
		operation, subject string
		says               string
	}{
		{`Permissions Violation for Publish to "a.b"`, Publish, "a.b", "not allowed to publish on a.b: allow it"},
		{`permissions violation for subscription to "_INBOX.\"x\""`, Subscribe, `_INBOX."x"`, `not allowed to subscribe to _INBOX."x"`},
		{`something else`, "", "", "permissions of this NATS user"},
	} {
		err := fmt.Errorf("%w: %s", nats.ErrPermissionViolation, tt.text)
		d, ok := AsDenial(err)
		if !ok || d.Operation != tt.operation || d.Subject != tt.subject || !errors.Is(d, nats.ErrPermissionViolation) {
			t.Errorf("AsDenial(%v) = %+v, %t", err, d, ok)
		}
	}
	if d, ok := AsDenial(nats.ErrTimeout); ok || d != nil {
		t.Errorf("AsDenial of a timeout = %v, %t; want none", d, ok)
	}
}
