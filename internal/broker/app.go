package broker

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/retry"
)

// How an app's stream follows LETHE's, as deploy/nats exports and imports it. An
// account imports the subjects that end in its own app's token, and nobody else's.
const (
	// appDeliver begins the subject, without the prefix, that the app's consumer delivers on.
	appDeliver = "lethe.events."
	// appAPI is where the app's account has imported that consumer's reset, the
	// one request of a stream that sources by a consumer made for it.
	appAPI = "lethe.api"
	// appMaxAckPending bounds the events between the two streams. A test of
	// 20,000 took 0.2 s.
	appMaxAckPending = 1000
	// appTimeout is how long setup waits until the app's stream follows: usually
	// some milliseconds.
	appTimeout = 5 * time.Second
	// appHeartbeat is what the server demands of a consumer that is sourced from.
	appHeartbeat = time.Second
)

// AppOptions describe the stream of an app's account.
type AppOptions struct {
	// App is the app, as commands name it.
	App string
	// EventsMaxBytes bounds its events: the oldest go first. 0 leaves an existing
	// stream as it is, and gives a new one all that its account may have on disk.
	EventsMaxBytes int64
}

// SetupApp creates the stream of an app in its own account,
// with the name of lethe's, that sources the app's events from lethe's:
// a consumer in lethe's account and the stream in the account that app is
// connected to, or it brings those that exist to what is wanted. How long and how
// many events are kept, and the replicas, are those of lethe's stream. Safe to
// repeat; a stream that was lost comes back with all events that lethe's has.
func SetupApp(ctx context.Context, lethe, app *Broker, o AppOptions) (SetupReport, error) {
	var report SetupReport
	if o.EventsMaxBytes < 0 {
		return report, fmt.Errorf("setup of app %s: %d bytes; expected 0 or more", o.App, o.EventsMaxBytes)
	}
	if err := errors.Join(lethe.connected(ctx), app.connected(ctx)); err != nil {
		return report, err
	}
	for _, nc := range []*nats.Conn{lethe.nc, app.nc} {
		if err := checkServer(nc, oldestAppServer, "a stream for an app's account"); err != nil {
			return report, err
		}
	}
	origin, err := lethe.streamAsset(streamConfig{Name: lethe.names.events}, nil, goal{}).get(ctx, &goal{names: lethe.cfg.Names})
	if err != nil {
		return report, setupProblem(lethe.cfg.Names, "stream "+lethe.names.events+" of the workers", err)
	}
	token := conversation.EscapeToken(o.App)
	consumer, err := whileNotReady(ctx, func() (SetupPart, error) { return lethe.setupAppConsumer(ctx, token) })
	if err != nil {
		return report, setupProblem(lethe.cfg.Names, "consumer "+token+" of "+lethe.names.events, err)
	}
	report.Parts = append(report.Parts, consumer)
	stream, err := whileNotReady(ctx, func() (SetupPart, error) { return app.setupAppStream(ctx, lethe, token, origin, o) })
	if err != nil {
		return report, setupProblem(app.cfg.Names, "stream "+lethe.names.events+" of app "+o.App, err)
	}
	report.Parts = append(report.Parts, stream)
	return report, awaitApp(ctx, lethe, app, token)
}

// awaitApp returns once the app's stream follows: it has reached its consumer, and
// listens to what that delivers.
func awaitApp(ctx context.Context, lethe, app *Broker, token string) error {
	policy := retry.Policy{First: 10 * time.Millisecond, Max: time.Second, Total: appTimeout}
	_, err := retry.Do(ctx, policy, func() (struct{}, error) {
		return struct{}{}, follows(ctx, lethe, app, token)
	}, func(err error) bool { return errors.Is(err, errNotFollowing) })
	return err
}

// errNotFollowing: the app's stream doesn't receive events yet.
var errNotFollowing = errors.New("the app's stream doesn't follow")

func follows(ctx context.Context, lethe, app *Broker, token string) error {
	var reaches, listens bool
	err := errors.Join(
		app.ask(ctx, "STREAM.INFO."+app.names.events, func(ctx context.Context) error {
			s, err := app.js.Stream(ctx, app.names.events)
			if err == nil && len(s.CachedInfo().Sources) == 1 {
				source := s.CachedInfo().Sources[0]
				reaches = source.Active >= 0 && source.Error == nil
			}
			return err
		}),
		lethe.ask(ctx, "CONSUMER.INFO."+lethe.names.events, func(ctx context.Context) error {
			c, err := lethe.js.PushConsumer(ctx, lethe.names.events, token)
			listens = err == nil && c.CachedInfo().PushBound
			return err
		}))
	if err != nil || reaches && listens {
		return err
	}
	return fmt.Errorf("%w (it reaches its consumer: %v; it receives events: %v): expected the account to import "+
		"%s%s, $JS.API.CONSUMER.RESET.%s.%[5]s as %[7]s.CONSUMER.RESET.%[6]s.%[5]s, and $JS.FC.%[6]s.%[5]s.*, as deploy/nats/app-demo.conf does",
		errNotFollowing, reaches, listens, lethe.names.Subject(appDeliver), token, lethe.names.events, appAPI)
}

// appConsumer is the consumer that the stream of an app's account sources by. It
// acknowledges by flow control, so that nothing is lost while that stream is away.
func appConsumer(n names, token string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:        token,
		Description:    "Events of one app, for the stream of its account",
		DeliverSubject: n.Subject(appDeliver + token),
		DeliverPolicy:  jetstream.DeliverAllPolicy,
		AckPolicy:      jetstream.AckFlowControlPolicy,
		FilterSubject:  n.Subject("conversation.*." + token + ".*"),
		MaxAckPending:  appMaxAckPending,
		FlowControl:    true,
		IdleHeartbeat:  appHeartbeat,
	}
}

// setupAppConsumer leaves a consumer that is there as it is: the server refuses
// one of this name that is unlike it.
func (b *Broker) setupAppConsumer(ctx context.Context, token string) (SetupPart, error) {
	part := SetupPart{Kind: "consumer", Name: token, Action: actionUnchanged}
	err := b.ask(ctx, "CONSUMER.INFO."+b.names.events, func(ctx context.Context) error {
		_, err := b.js.PushConsumer(ctx, b.names.events, token)
		return err
	})
	if !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return part, err
	}
	part.Action = actionCreated
	return part, b.ask(ctx, "CONSUMER.CREATE."+b.names.events, func(ctx context.Context) error {
		_, err := b.js.CreateOrUpdatePushConsumer(ctx, b.names.events, appConsumer(b.names, token))
		return err
	})
}

// appStream is the stream of an app's account. It has no subjects: what is in it
// is what Lethe published.
func appStream(n names, token string, origin streamConfig) streamConfig {
	return streamConfig{
		Name:              n.events,
		Description:       "What became of deletions, for the devices of each user",
		Retention:         jetstream.LimitsPolicy,
		Storage:           jetstream.FileStorage,
		Discard:           jetstream.DiscardOld, // a full stream must not block later events
		Replicas:          origin.Replicas,
		MaxAge:            origin.MaxAge,
		MaxMsgsPerSubject: origin.MaxMsgsPerSubject,
		Duplicates:        origin.Duplicates,
		AllowDirect:       true,
		Sources: []*jetstream.StreamSource{{
			Name:     n.events,
			External: &jetstream.ExternalStream{APIPrefix: appAPI},
			Consumer: &jetstream.StreamConsumerSource{Name: token, DeliverSubject: n.Subject(appDeliver + token)},
		}},
	}
}

// appProperties are the properties of that stream that setup checks.
func appProperties(want streamConfig) []property[streamConfig] {
	of := eventsOnly
	return []property[streamConfig]{
		{
			of, "sources", "the events of this app alone", refuses, ignores, "devices would see events that no worker published",
			func(c *streamConfig, _ goal) {
				if len(c.Sources) != 1 || !reflect.DeepEqual(c.Sources[0].Consumer, want.Sources[0].Consumer) {
					c.Sources = want.Sources
				}
			},
		},
		{
			of, "discard", "old", fixes, ignores, "a full stream would block later events",
			func(c *streamConfig, _ goal) { c.Discard = want.Discard },
		},
		{
			of, "allow_direct", "true", fixes, ignores, "devices couldn't catch up",
			func(c *streamConfig, _ goal) { c.AllowDirect = true },
		},
		{
			of, "num_replicas", "those of the workers' stream", fixes, ignores, "one replica is lost with its server",
			func(c *streamConfig, _ goal) { c.Replicas = want.Replicas },
		},
		{
			of, "max_age", "that of the workers' stream", fixes, ignores, "devices would find more or fewer events than documented",
			func(c *streamConfig, _ goal) { c.MaxAge = want.MaxAge },
		},
		{
			of, "max_msgs_per_subject", "that of the workers' stream", fixes, ignores, "devices would find more or fewer events than documented",
			func(c *streamConfig, _ goal) { c.MaxMsgsPerSubject = want.MaxMsgsPerSubject },
		},
		{
			of, "duplicate_window", "that of the workers' stream", fixes, ignores, "an event could be stored twice",
			func(c *streamConfig, _ goal) { c.Duplicates = want.Duplicates },
		},
		{
			of, "max_bytes", "any; --app-events-max-bytes", sets, ignores, "the oldest events are removed first",
			func(c *streamConfig, g goal) { c.MaxBytes = or(g.EventsMaxBytes, c.MaxBytes) },
		},
	}
}

func (b *Broker) setupAppStream(ctx context.Context, lethe *Broker, token string, origin streamConfig, o AppOptions) (SetupPart, error) {
	want := appStream(b.names, token, origin)
	a := b.streamAsset(want, appProperties(want), goal{SetupOptions: SetupOptions{EventsMaxBytes: o.EventsMaxBytes}, names: b.cfg.Names})
	a.rebuild = "delete it and run `worker setup-app` again"
	a.create = func(ctx context.Context, config streamConfig) error {
		var err error
		if config.MaxBytes, err = b.appBytes(ctx, o, config.Replicas); err != nil {
			return err
		}
		return b.createAppStream(ctx, lethe, token, config)
	}
	done, err := a.setup(ctx)
	done.Name += " of app " + o.App
	return done, err
}

// createAppStream first has the consumer begin anew: a stream that was lost had
// acknowledged what it held.
func (b *Broker) createAppStream(ctx context.Context, lethe *Broker, token string, want streamConfig) error {
	err := lethe.ask(ctx, "CONSUMER.RESET."+lethe.names.events, func(ctx context.Context) error {
		_, err := lethe.js.ResetConsumerToSequence(ctx, lethe.names.events, token, 1)
		return err
	})
	if err != nil {
		return err
	}
	return b.ask(ctx, "STREAM.CREATE."+want.Name, func(ctx context.Context) error {
		_, err := b.js.CreateStream(ctx, want)
		return err
	})
}

// appBytes is the size of a new stream, which its account counts for each replica.
func (b *Broker) appBytes(ctx context.Context, o AppOptions, replicas int) (int64, error) {
	if o.EventsMaxBytes > 0 {
		return o.EventsMaxBytes, nil
	}
	bytes := int64(-1)
	err := b.ask(ctx, "INFO", func(ctx context.Context) error {
		info, err := b.js.AccountInfo(ctx)
		if err == nil && info.Limits.MaxStore > 0 {
			bytes = info.Limits.MaxStore / int64(replicas)
		}
		return err
	})
	return bytes, err
}
