package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ask makes one request to JetStream's API within apiTimeout. part, of the
// request's subject, tells its denial from others', which then is the error in
// place of a timeout.
func (b *Broker) ask(ctx context.Context, part string, call func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ctx, stop := context.WithTimeoutCause(ctx, apiTimeout, nats.ErrTimeout)
	defer stop()
	defer b.denials.watch(b.denials.ofAPI(part), cancel)()
	err := call(ctx)
	if err != nil && ctx.Err() != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, ctx.Err()) {
			return cause
		}
	}
	return err
}

// api makes a request to JetStream's API that the client package doesn't offer
// in a form that fits, and reads the answer into result.
func (b *Broker) api(ctx context.Context, subject string, request, result any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	return b.ask(ctx, subject, func(ctx context.Context) error {
		m, err := b.nc.RequestWithContext(ctx, jetstreamAPI+subject, body)
		if err != nil {
			return err
		}
		var failed struct {
			Error *jetstream.APIError `json:"error"`
		}
		if err := json.Unmarshal(m.Data, &failed); err != nil {
			return fmt.Errorf("answer to %s: %w", subject, err)
		}
		if failed.Error != nil {
			return failed.Error
		}
		if err := json.Unmarshal(m.Data, result); err != nil {
			return fmt.Errorf("answer to %s: %w", subject, err)
		}
		return nil
	})
}

// code returns the server's error code, 0 if err has none.
func code(err error) jetstream.ErrorCode {
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

// Error codes of the server that the client package has no name for.
const (
	codeAccountLimit     jetstream.ErrorCode = 10002
	codeNoPeers          jetstream.ErrorCode = 10005
	codeUnavailable      jetstream.ErrorCode = 10008
	codeNoLeader         jetstream.ErrorCode = 10009
	codeNoResources      jetstream.ErrorCode = 10023
	codeNoMemory         jetstream.ErrorCode = 10028
	codeNoStorage        jetstream.ErrorCode = 10047
	codeDeleteFailed     jetstream.ErrorCode = 10057
	codeSubjectOverlap   jetstream.ErrorCode = 10065
	codeReplicas         jetstream.ErrorCode = 10074
	codeStoreRefused     jetstream.ErrorCode = 10077
	codeStreamSealed     jetstream.ErrorCode = 10109
	codeStreamOffline    jetstream.ErrorCode = 10118
	codeStreamOfflineWhy jetstream.ErrorCode = 10194
)
