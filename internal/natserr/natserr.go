// Package natserr reads what NATS says is wrong: the server's error codes that the
// client package has no name for, and operations that permissions forbid. The worker and
// the public package conversation share it, and it imports the client package alone.
package natserr

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Codes of the server's errors.
const (
	AccountLimit         jetstream.ErrorCode = 10002
	NoPeers              jetstream.ErrorCode = 10005
	Unavailable          jetstream.ErrorCode = 10008
	NoLeader             jetstream.ErrorCode = 10009
	NoResources          jetstream.ErrorCode = 10023
	NoMemory             jetstream.ErrorCode = 10028
	NoStorage            jetstream.ErrorCode = 10047
	DeleteFailed         jetstream.ErrorCode = 10057
	SubjectOverlap       jetstream.ErrorCode = 10065
	Replicas             jetstream.ErrorCode = 10074
	StoreRefused         jetstream.ErrorCode = 10077 // of every limit and fault of the store: only the text tells which
	StreamSealed         jetstream.ErrorCode = 10109
	StreamOffline        jetstream.ErrorCode = 10118
	StreamOfflineBecause jetstream.ErrorCode = 10194
)

// Code returns the server's error code, 0 if err has none.
func Code(err error) jetstream.ErrorCode {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api.ErrorCode
	}
	var js jetstream.JetStreamError
	if errors.As(err, &js) && js.APIError() != nil {
		return js.APIError().ErrorCode
	}
	return 0
}

// The operations of a [Denial].
const (
	Publish   = "Publish"
	Subscribe = "Subscription"
)

// Denial is an operation that the server's permissions forbid. The server reports it on
// the side; whoever waits for an answer gets none.
type Denial struct {
	Operation string // Publish or Subscribe; "" where the text doesn't name it
	Subject   string
	Err       error // the client's
}

// denialText is the only place where the server names operation and subject.
var denialText = regexp.MustCompile(`(?i)violation for (publish|subscription) to ("(?:[^"\\]|\\.)*")`)

// AsDenial returns the denial that err is, if it is one.
func AsDenial(err error) (*Denial, bool) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return nil, false
	}
	d := &Denial{Err: err}
	if m := denialText.FindStringSubmatch(err.Error()); m != nil {
		d.Operation = Publish
		if strings.EqualFold(m[1], Subscribe) {
			d.Operation = Subscribe
		}
		if s, uerr := strconv.Unquote(m[2]); uerr == nil {
			d.Subject = s
		}
	}
	return d, true
}

// Error says what to allow.
func (d *Denial) Error() string {
	verb := "publish on"
	if d.Operation == Subscribe {
		verb = "subscribe to"
	}
	return fmt.Sprintf("not allowed to %s %s: allow it in the permissions of this NATS user: %v", verb, d.Subject, d.Err)
}

// Unwrap returns the client's error.
func (d *Denial) Unwrap() error { return d.Err }
