package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/internal/bus"
)

// ask makes one request to JetStream's API within apiTimeout. A denial of a subject that
// contains part is the error, in place of a timeout.
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
		m, err := b.nc.RequestWithContext(ctx, b.names.api+subject, body)
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

// consumerInfo requests the workers' consumer, of whatever kind it is: the client
// package returns nothing about a push consumer.
func (b *Broker) consumerInfo(ctx context.Context) (*jetstream.ConsumerInfo, error) {
	var info jetstream.ConsumerInfo
	if err := b.api(ctx, "CONSUMER.INFO."+b.names.commands+"."+b.names.worker, struct{}{}, &info); err != nil {
		return nil, err
	}
	return &info, nil
}

// streamState requests the state of a stream.
func (b *Broker) streamState(ctx context.Context, name string) (bus.StreamState, error) {
	var info struct {
		Created time.Time `json:"created"`
		Config  struct {
			MaxBytes int64 `json:"max_bytes"`
		} `json:"config"`
		State jetstream.StreamState `json:"state"`
	}
	if err := b.connected(ctx); err != nil {
		return bus.StreamState{}, err
	}
	if err := b.api(ctx, "STREAM.INFO."+name, struct{}{}, &info); err != nil {
		return bus.StreamState{}, fmt.Errorf("stream %s: %w", name, err)
	}
	s := info.State
	return bus.StreamState{
		Name: name, Created: info.Created, Messages: s.Msgs, Bytes: s.Bytes, MaxBytes: info.Config.MaxBytes,
		First: s.FirstSeq, FirstAt: s.FirstTime, Last: s.LastSeq, LastAt: s.LastTime,
	}, nil
}
