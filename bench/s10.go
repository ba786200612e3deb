package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/localstack"
)

// roundTrip is what the way from a worker to Postgres and back takes in S10.
const roundTrip = 5 * time.Millisecond

// replicaCounts are how many workers share the stream.
var replicaCounts = []int{1, 2, 4, 8}

// farLimits make one worker wait for the network most of the time: one command in
// a transaction, one at a time.
var farLimits = []string{"express-lanes=1", "batch-size=1"}

// figureTrip is the round trip as it was measured.
const figureTrip = "round trip to Postgres, ms"

func figureReplicas(k int) string  { return fmt.Sprintf("commands/s, replicas: %d", k) }
func figureLinear(k int) string    { return fmt.Sprintf("share of linear, replicas: %d", k) }
func figureCoresBusy(k int) string { return fmt.Sprintf("cores busy, replicas: %d", k) }

// farReplicas is S10: workers whose database is a network away.
func farReplicas() scenario {
	sc := scenario{
		id: "S10", title: "replicas that are 5 ms away from Postgres", contestants: []contestant{lethe}, rounds: 2,
		load: func(ctx context.Context, w *world) error {
			return w.loadSmall(ctx, farCommands(w.opts.Sizes), w.opts.Sizes.MessagesEach)
		},
		run: runReplicas,
	}
	for _, k := range replicaCounts {
		sc.figures = append(sc.figures, figure{name: figureReplicas(k)})
	}
	for _, k := range replicaCounts[1:] {
		f := figure{name: figureLinear(k)}
		if k <= 4 {
			f.goals = []goal{{sense: atLeast, number: 0.9}}
		}
		sc.figures = append(sc.figures, f)
	}
	for _, k := range replicaCounts {
		sc.figures = append(sc.figures, figure{name: figureCoresBusy(k)})
	}
	sc.figures = append(sc.figures, figure{name: figureTrip})
	return sc
}

func farCommands(size sizes) int {
	n := 0
	for _, k := range replicaCounts {
		n += k * size.PerReplica
	}
	return n
}

func runReplicas(ctx context.Context, w *world, who contestant) (s sample, err error) {
	d, address, err := localstack.OpenPostgresProxy(ctx, w.database, roundTrip/2)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	s = sample{}
	if s[figureTrip], err = measureTrip(ctx, address); err != nil {
		return nil, err
	}
	commands := smallCommandsOf(farCommands(w.opts.Sizes))
	done := 0
	for _, k := range replicaCounts {
		next := done + k*w.opts.Sizes.PerReplica
		if err := w.runReplicasOf(ctx, s, who, address, k, commands[done:next], next); err != nil {
			return nil, fmt.Errorf("%d replicas: %w", k, err)
		}
		done = next
		s[figureLinear(k)] = s[figureReplicas(k)] / (float64(k) * s[figureReplicas(1)])
	}
	if err := w.checkSmall(ctx, len(commands), w.opts.Sizes.MessagesEach); err != nil {
		return nil, err
	}
	return s, w.checkEvents(ctx, commands, same(w.opts.Sizes.MessagesEach))
}

// runReplicasOf measures k workers on their share of the commands.
func (w *world) runReplicasOf(ctx context.Context, s sample, who contestant, database string, k int, commands []conversation.Command, events int) error {
	if err := w.start(ctx, who, database, farLimits...); err != nil {
		return err
	}
	replicas := []*process{w.contestant}
	for range k - 1 {
		p, err := w.launch(ctx, who, database, farLimits...)
		if p != nil {
			w.helpers = append(w.helpers, p)
			replicas = append(replicas, p)
		}
		if err != nil {
			return err
		}
	}
	if err := w.pause(); err != nil { // the others
		return err
	}
	if err := w.publish(ctx, commands); err != nil {
		return err
	}
	if err := w.checkpoint(ctx); err != nil {
		return err
	}
	before, known := w.cpuOfAll(replicas)
	start, end, err := w.untilEvents(ctx, events)
	if err != nil {
		return err
	}
	after, _ := w.cpuOfAll(replicas)
	took := end.Sub(start).Seconds()
	s[figureReplicas(k)] = float64(len(commands)) / took
	if known {
		s[figureCoresBusy(k)] = (after - before) / took
	}
	if _, err := w.awaitSettled(ctx); err != nil {
		return err
	}
	for _, p := range replicas[1:] {
		_, stopErr := p.stop()
		err = errors.Join(err, stopErr)
	}
	w.helpers = nil
	return errors.Join(err, w.stop(s))
}

// cpuOfAll is the CPU seconds of workers, nats-server and Postgres together.
func (w *world) cpuOfAll(workers []*process) (float64, bool) {
	postgres, ok := w.postgresPID()
	if !ok {
		return 0, false
	}
	sum, ok := cpuOfTree(postgres)
	for _, p := range append(workers, w.nats) {
		one, known := cpuOf(p.pid)
		sum, ok = sum+one, ok && known
	}
	return sum, ok
}

// measureTrip is the median of some round trips, in ms.
func measureTrip(ctx context.Context, database string) (float64, error) {
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return 0, err
	}
	defer conn.Close(ctx) //nolint:errcheck // it was only asked
	trips := make([]time.Duration, 20)
	for i := range trips {
		start := time.Now()
		if err := conn.Ping(ctx); err != nil {
			return 0, err
		}
		trips[i] = time.Since(start)
	}
	return milliseconds(percentile(trips, 0.5)), nil
}
