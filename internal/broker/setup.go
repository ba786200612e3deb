package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
)

const (
	// setupPatience is how long setup waits for a JetStream that isn't ready yet.
	setupPatience = 15 * time.Second
	// answerPatience is how long it waits where nobody answers: almost always
	// because JetStream isn't enabled.
	answerPatience = 2 * time.Second
	// setupRounds is how often setup looks again because somebody else changed
	// the same thing meanwhile.
	setupRounds = 10
)

// SetupReport says what Setup found and did, in order.
type SetupReport struct {
	Parts []SetupPart
}

// SetupPart is one stream or consumer.
type SetupPart struct {
	// Kind is "stream" or "consumer".
	Kind string `json:"kind"`
	// Name is the stream's or the consumer's.
	Name string `json:"name"`
	// Action is "created", "updated" or "unchanged".
	Action string `json:"action"`
	// Changes are, for people, what was updated.
	Changes []string `json:"changes,omitempty"`
}

// What setup did about a part.
const (
	actionCreated   = "created"
	actionUpdated   = "updated"
	actionUnchanged = "unchanged"
)

// Setup creates the streams and the workers' consumer, or brings those that
// exist to what the contract requires; what an operator has tuned beyond that
// stays. To repeat it, or to run it from several workers at once, is safe. Where
// all is as wanted it needs no right but to look. After an error, some may be done.
func (b *Broker) Setup(ctx context.Context, o SetupOptions) (SetupReport, error) {
	var report SetupReport
	if err := o.validate(); err != nil {
		return report, err
	}
	if err := b.connected(ctx); err != nil {
		return report, err
	}
	streams, err := plan(o, b.nc.MaxPayload())
	if err != nil {
		return report, err
	}
	for _, s := range streams {
		part, err := patiently(ctx, func() (SetupPart, error) { return b.setupStream(ctx, s, o) })
		if err != nil {
			return report, explainSetup("stream "+s.config.Name, err)
		}
		report.Parts = append(report.Parts, part)
	}
	part, err := patiently(ctx, func() (SetupPart, error) { return b.setupConsumer(ctx) })
	if err != nil {
		return report, explainSetup("consumer "+commandsConsumer, err)
	}
	report.Parts = append(report.Parts, part)
	return report, nil
}

// patiently repeats what failed because JetStream isn't ready, as just after the
// start of a server or while a leader is elected.
func patiently(ctx context.Context, do func() (SetupPart, error)) (SetupPart, error) {
	pause := backoff.NewExponentialBackOff(backoff.WithInitialInterval(50*time.Millisecond),
		backoff.WithMaxInterval(time.Second), backoff.WithMaxElapsedTime(setupPatience))
	began := time.Now()
	return backoff.RetryWithData(func() (SetupPart, error) {
		part, err := do()
		if err != nil && (!notReady(err) || errors.Is(err, nats.ErrNoResponders) && time.Since(began) > answerPatience) {
			return part, backoff.Permanent(err)
		}
		return part, err
	}, backoff.WithContext(pause, ctx))
}

// notReady reports whether the server may do it in a moment.
func notReady(err error) bool {
	switch code(err) {
	case codeUnavailable, codeNoLeader, codeStreamOffline, codeStreamOfflineWhy:
		return true
	}
	var d *denial
	return !errors.As(err, &d) && (errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrDisconnected))
}

func (b *Broker) setupStream(ctx context.Context, p plannedStream, o SetupOptions) (SetupPart, error) {
	part := SetupPart{Kind: "stream", Name: p.config.Name}
	var err error
	for range setupRounds {
		var have jetstream.StreamConfig
		have, err = b.streamConfig(ctx, p.config.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			part.Action = actionCreated
			err = b.ask(ctx, "STREAM.CREATE."+p.config.Name, func(ctx context.Context) error {
				_, err := b.js.CreateStream(ctx, p.config)
				return err
			})
			if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
				continue // somebody else was first, with other options
			}
			return part, err
		}
		if err != nil {
			return part, err
		}
		c, cerr := p.upgrade(have, o)
		if cerr != nil {
			return part, cerr
		}
		if len(c.made) == 0 {
			part.Action = actionUnchanged
			return part, nil
		}
		part.Action, part.Changes = actionUpdated, c.made
		err = b.ask(ctx, "STREAM.UPDATE."+p.config.Name, func(ctx context.Context) error {
			_, err := b.js.UpdateStream(ctx, c.config)
			return err
		})
		if !errors.Is(err, jetstream.ErrStreamNotFound) {
			return part, err
		}
	}
	return part, err
}

func (b *Broker) streamConfig(ctx context.Context, name string) (jetstream.StreamConfig, error) {
	var have jetstream.StreamConfig
	err := b.ask(ctx, "STREAM.INFO."+name, func(ctx context.Context) error {
		s, err := b.js.Stream(ctx, name)
		if err == nil {
			have = s.CachedInfo().Config
		}
		return err
	})
	return have, err
}

func (b *Broker) setupConsumer(ctx context.Context) (SetupPart, error) {
	part := SetupPart{Kind: "consumer", Name: conversation.WorkerConsumer}
	var err error
	for range setupRounds {
		info, ierr := b.consumerInfo(ctx)
		if errors.Is(ierr, jetstream.ErrConsumerNotFound) {
			part.Action = actionCreated
			err = b.putConsumer(ctx, consumerPlan(b.cfg.AckWait), b.js.CreateConsumer)
			if errors.Is(err, jetstream.ErrConsumerExists) {
				continue
			}
			return part, err
		}
		if ierr != nil {
			return part, ierr
		}
		config, made, cerr := upgradeConsumer(info.Config, b.cfg.AckWait)
		if cerr != nil {
			return part, cerr
		}
		if len(made) == 0 {
			part.Action = actionUnchanged
			return part, nil
		}
		part.Action, part.Changes = actionUpdated, made
		err = b.putConsumer(ctx, config, b.js.UpdateConsumer)
		if !errors.Is(err, jetstream.ErrConsumerDoesNotExist) {
			return part, err
		}
	}
	return part, err
}

// putConsumer creates or updates the workers' consumer.
func (b *Broker) putConsumer(ctx context.Context, config jetstream.ConsumerConfig,
	put func(context.Context, string, jetstream.ConsumerConfig) (jetstream.Consumer, error),
) error {
	return b.ask(ctx, "CONSUMER.", func(ctx context.Context) error {
		_, err := put(ctx, conversation.CommandsStream, config)
		return err
	})
}

// explainSetup says what to do about an error of setup.
func explainSetup(what string, err error) error {
	switch code(err) {
	case codeSubjectOverlap:
		return fmt.Errorf("%s: another stream has some of its subjects: find it with `nats stream ls --subject 'conversation.>'` and remove them there: %w", what, err)
	case codeNoStorage, codeNoResources, codeAccountLimit, codeNoMemory:
		return fmt.Errorf("%s: not enough room on the NATS server or in the account: raise it, or ask for less max bytes: %w", what, err)
	case codeReplicas:
		return fmt.Errorf("%s: this NATS server is no cluster: use 1 replica: %w", what, err)
	case codeNoPeers:
		return fmt.Errorf("%s: the NATS cluster has too few servers with room: use fewer replicas: %w", what, err)
	}
	switch {
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrJetStreamNotEnabled),
		errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("%s: JetStream isn't available: enable it on the server and for this account: %w", what, err)
	case errors.Is(err, jetstream.ErrNotPullConsumer):
		return fmt.Errorf("%s: is a push consumer: delete it and run `worker setup` again; no command is lost: %w", what, err)
	case errors.Is(err, nats.ErrTimeout):
		return fmt.Errorf("%s: JetStream doesn't answer: look at the NATS server: %w", what, err)
	case strings.Contains(err.Error(), commandsConsumer), strings.Contains(err.Error(), what):
		return err // says it itself
	}
	return fmt.Errorf("%s: %w", what, err)
}
