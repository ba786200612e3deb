package broker

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/internal/natserr"
)

// part is a stream or the consumer, for setup, its check and a running worker.
type part interface {
	// label is what errors call it.
	label() string
	// failed is what setup reports of one that it leaves as it is.
	failed() SetupPart
	// setup creates it, or corrects what it can. It does so also where it returns an
	// error, which then has a line for each property that isn't right.
	setup(ctx context.Context) (SetupPart, error)
	// check returns a line for each property. The error is errMissing where there
	// is no such part, or why the server doesn't say.
	check(ctx context.Context) ([]PropertyState, error)
	// missing is the line in place of those of check where there is no such part.
	missing() PropertyState
}

// errMissing: there is no such stream or consumer.
var errMissing = errors.New("missing")

// asset is a part whose configuration is a C.
type asset[C any] struct {
	kind, name string
	table      []property[C]
	goal       goal
	fresh      C // what isn't zero of a new one and not in the table
	// get reads the configuration, and into goal what that depends on. The error
	// wraps errMissing if there is none.
	get func(ctx context.Context, g *goal) (C, error)
	// create creates it. exists is the error if another client has created it.
	create func(ctx context.Context, config C) error
	exists error
	// update changes it from have to config.
	update func(ctx context.Context, have, config C) error
	// byHand is what to do about properties that an update can change, and setup
	// doesn't; rebuild is what to do about the others that it refuses.
	byHand  map[string]string
	rebuild string
}

func (a *asset[C]) label() string { return a.kind + " " + a.name }

func (a *asset[C]) failed() SetupPart {
	return SetupPart{Kind: a.kind, Name: a.name, Action: actionFailed}
}

func (a *asset[C]) setup(ctx context.Context) (SetupPart, error) {
	done := a.failed()
	var err error
	for range setupRounds {
		var have C
		have, err = a.get(ctx, &a.goal)
		switch {
		case errors.Is(err, errMissing):
			config, _ := compare(a.table, a.name, a.fresh, a.goal)
			if err = a.create(ctx, config); err == nil {
				done.Action = actionCreated
				return done, nil
			}
			if errors.Is(err, a.exists) {
				continue // another client was first, with other options
			}
			return done, setupProblem(a.goal.names, a.label(), err)
		case err != nil:
			return done, setupProblem(a.goal.names, a.label(), err)
		}
		done.Changes, err = a.correct(ctx, have)
		if errors.Is(err, errMissing) {
			continue // another client has deleted it
		}
		switch {
		case len(done.Changes) > 0:
			done.Action = actionUpdated
		case err == nil:
			done.Action = actionUnchanged
		}
		return done, err
	}
	return done, err
}

// correct corrects what it can. The error has a line for each of the others.
func (a *asset[C]) correct(ctx context.Context, have C) (made []string, err error) {
	corrected, wrong := compare(a.table, a.name, have, a.goal)
	var errs []error
	var open []deviation[C]
	for _, d := range wrong {
		if d.setup == refuses {
			errs = append(errs, a.refusal(d))
		} else {
			open = append(open, d)
		}
	}
	if len(open) == 0 {
		return nil, errors.Join(errs...)
	}
	err = a.update(ctx, have, corrected)
	if err == nil {
		for _, d := range open {
			made = append(made, d.change())
		}
		return made, errors.Join(errs...)
	}
	if natserr.Code(err) == 0 || notReady(err) || errors.Is(err, errMissing) {
		return nil, errors.Join(append(errs, setupProblem(a.goal.names, a.label(), err))...)
	}
	made, err = a.correctEach(ctx, have, open)
	return made, errors.Join(append(errs, err)...)
}

// correctEach corrects what the server allows, one by one, after it has refused all
// together: an old server, or a limit of the server or account.
func (a *asset[C]) correctEach(ctx context.Context, have C, open []deviation[C]) (made []string, err error) {
	for progress := true; progress; {
		progress = false
		var left []deviation[C]
		var errs []error
		for _, d := range open {
			config := have
			d.correct(&config, a.goal)
			if uerr := a.update(ctx, have, config); uerr != nil {
				left, errs = append(left, d), append(errs, setupProblem(a.goal.names, a.label(), d.stays(uerr)))
				continue
			}
			have, made, progress = config, append(made, d.change()), true
		}
		open, err = left, errors.Join(errs...)
	}
	return made, err
}

func (d deviation[C]) change() string { return d.name + ": " + d.becomes + ", was " + d.was }

// stays is the error of a property that the server doesn't let setup change.
func (d deviation[C]) stays(err error) error {
	if d.name == "max_consumers" { // by versions tried
		return fmt.Errorf("%s stays %s, expected %s: nats-server changes it from version 2.12.7 on: upgrade it, or leave it where fewer than 1,000 relays read: %w",
			d.name, d.was, d.want, err)
	}
	return fmt.Errorf("%s stays %s, expected %s (%s): %w", d.name, d.was, d.want, d.why, err)
}

// meant is byHand of the streams: someone must have chosen these values.
var meant = map[string]string{
	"sources":           "let producers publish on the stream's own subjects, such as through a service import, and remove these sources",
	"subject_transform": "remove the stream's subject transform",
}

func (a *asset[C]) refusal(d deviation[C]) error {
	do, ok := a.byHand[d.name]
	if !ok {
		do = "no update can change it: " + a.rebuild
	}
	return fmt.Errorf("%s: %s is %s, expected %s (%s): %s", a.label(), d.name, d.was, d.want, d.why, do)
}

func (a *asset[C]) check(ctx context.Context) ([]PropertyState, error) {
	have, err := a.get(ctx, &a.goal)
	if err != nil {
		return nil, err
	}
	return states(a.kind, a.name, a.table, have, a.goal), nil
}

func (a *asset[C]) missing() PropertyState {
	return PropertyState{
		Kind: a.kind, Of: a.name, Found: "missing", Want: "exists", Setup: "creates", Worker: string(stops), Why: "nothing goes without it",
	}
}

// states returns a line for each property of the stream or consumer called of.
func states[C any](kind, of string, table []property[C], have C, g goal) []PropertyState {
	_, wrong := compare(table, of, have, g)
	var lines []PropertyState
	for _, p := range table {
		if !p.isOf(of, g.names) {
			continue
		}
		isWrong := slices.ContainsFunc(wrong, func(d deviation[C]) bool { return d.name == p.name && d.want == p.want })
		lines = append(lines, PropertyState{
			Kind: kind, Of: of, Property: p.name, Found: shown(fieldOf(&have, p.name)), Want: p.want, Right: !isWrong,
			Setup: string(p.setup), Worker: string(p.run), Why: p.why,
		})
	}
	return lines
}

// parts are the streams and the consumer.
func (b *Broker) parts(g goal) []part {
	all := make([]part, 0, 4)
	for _, fresh := range newStreams(g) {
		all = append(all, b.streamPart(fresh, g))
	}
	return append(all, b.consumerPart(g))
}

func (b *Broker) streamPart(fresh streamConfig, g goal) part {
	a := b.streamAsset(fresh, streamProperties, g)
	a.byHand = meant
	a.rebuild = "back it up if you need its messages, delete it (`nats stream rm " + a.name + "`) and run `worker setup` again"
	if a.name == b.names.commands {
		a.rebuild = "stop the producers, let the workers empty it, delete it (`nats stream rm " + a.name + "`) and run `worker setup` again"
	}
	return a
}

// streamAsset is a stream of the account that b is connected to.
func (b *Broker) streamAsset(fresh streamConfig, table []property[streamConfig], g goal) *asset[streamConfig] {
	a := &asset[streamConfig]{kind: "stream", name: fresh.Name, table: table, goal: g, fresh: fresh, exists: jetstream.ErrStreamNameAlreadyInUse}
	a.get = func(ctx context.Context, g *goal) (have streamConfig, err error) {
		err = b.ask(ctx, "STREAM.INFO."+a.name, func(ctx context.Context) error {
			s, err := b.js.Stream(ctx, a.name)
			if err == nil {
				have, g.stored = s.CachedInfo().Config, s.CachedInfo().State.Bytes
			}
			return err
		})
		if err == nil {
			err = checkOwner(g.names, have, fresh.Description)
		}
		return have, orMissing(err, jetstream.ErrStreamNotFound)
	}
	a.create = func(ctx context.Context, config streamConfig) error {
		err := b.ask(ctx, "STREAM.CREATE."+a.name, func(ctx context.Context) error {
			_, err := b.js.CreateStream(ctx, config)
			return err
		})
		return b.findOverlap(ctx, config, err)
	}
	a.update = func(ctx context.Context, have, config streamConfig) error {
		if err := b.mayTakeOver(ctx, have, config, g.TakeOver); err != nil {
			return err
		}
		err := b.ask(ctx, "STREAM.UPDATE."+a.name, func(ctx context.Context) error {
			_, err := b.js.UpdateStream(ctx, config)
			return err
		})
		return b.findOverlap(ctx, config, orMissing(err, jetstream.ErrStreamNotFound))
	}
	return a
}

func (b *Broker) consumerPart(g goal) part {
	return &asset[consumerConfig]{
		kind: "consumer", name: b.names.worker, table: consumerProperties, goal: g, exists: jetstream.ErrConsumerExists,
		fresh:   consumerConfig{Durable: b.names.worker, Description: "Shared by all workers", MaxWaiting: defaultWaiting},
		rebuild: "delete it (`nats consumer rm " + b.names.commands + " " + b.names.worker + "`) and run `worker setup` again; no command is lost",
		get: func(ctx context.Context, _ *goal) (consumerConfig, error) {
			info, err := b.consumerInfo(ctx)
			if err != nil {
				return consumerConfig{}, orMissing(orMissing(err, jetstream.ErrConsumerNotFound), jetstream.ErrStreamNotFound)
			}
			return info.Config, nil
		},
		create: func(ctx context.Context, config consumerConfig) error {
			return b.putConsumer(ctx, config, b.js.CreateConsumer)
		},
		update: func(ctx context.Context, have, config consumerConfig) error {
			return orMissing(b.updateConsumer(ctx, have, config), jetstream.ErrConsumerDoesNotExist)
		},
	}
}

// updateConsumer changes the consumer. A separate request ends a pause.
func (b *Broker) updateConsumer(ctx context.Context, have, config consumerConfig) error {
	if have.PauseUntil != nil && config.PauseUntil == nil {
		err := b.ask(ctx, "CONSUMER.PAUSE.", func(ctx context.Context) error {
			_, err := b.js.ResumeConsumer(ctx, b.names.commands, b.names.worker)
			return err
		})
		if have.PauseUntil = nil; err != nil || reflect.DeepEqual(have, config) {
			return err
		}
	}
	return b.putConsumer(ctx, config, b.js.UpdateConsumer)
}

// putConsumer creates or updates the workers' consumer.
func (b *Broker) putConsumer(ctx context.Context, config consumerConfig,
	put func(context.Context, string, consumerConfig) (jetstream.Consumer, error),
) error {
	return b.ask(ctx, "CONSUMER.", func(ctx context.Context) error {
		_, err := put(ctx, b.names.commands, config)
		return err
	})
}

// orMissing marks an error that reports that there is no such thing.
func orMissing(err, missing error) error {
	if errors.Is(err, missing) {
		return fmt.Errorf("%w: %w", errMissing, err)
	}
	return err
}

// PropertyState is one property of a stream or of the consumer, as it is and as
// it has to be.
type PropertyState struct {
	// Kind is "stream" or "consumer", Of its name.
	Kind string `json:"kind"`
	Of   string `json:"of"`
	// Property is the property's name in NATS's JSON; "" for the whole, where
	// there is none of that name.
	Property string `json:"property"`
	// Found is the present value, Want the right one.
	Found string `json:"found"`
	Want  string `json:"want"`
	// Right reports whether Found is as wanted.
	Right bool `json:"right"`
	// Setup is what setup does about another value: "fixes", "refuses", "sets"
	// (what a flag asks for) or "leaves"; "creates" where the whole is missing.
	Setup string `json:"setup"`
	// Worker is what a running worker does: "warns", "stops" or "-".
	Worker string `json:"worker"`
	// Why is what another value does.
	Why string `json:"why,omitempty"`
}

// Check compares the streams and the consumer with the table of properties, and
// with the options. It changes nothing and needs only the right to read them. The
// lines are in the table's order, and complete unless there is an error.
func (b *Broker) Check(ctx context.Context, o SetupOptions) ([]PropertyState, error) {
	g, err := b.goal(ctx, o)
	if err != nil {
		return nil, err
	}
	var all []PropertyState
	for _, p := range b.parts(g) {
		lines, err := whileNotReady(ctx, func() ([]PropertyState, error) { return p.check(ctx) })
		if errors.Is(err, errMissing) {
			lines, err = []PropertyState{p.missing()}, nil
		}
		if err != nil {
			return all, setupProblem(b.cfg.Names, p.label(), err)
		}
		all = append(all, lines...)
	}
	return all, nil
}
