package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/broker"
	"github.com/lethe-im/lethe/internal/bus"
)

const (
	// workersPerShard is how many connections each shard has in S15.
	workersPerShard = 2
	// shardBytes is the size of each shard's stream of commands. The server sets aside
	// that much of its disk for each; the default of 1 GiB is meant for one.
	shardBytes = 64 << 20
)

func figureBusMemory(k int) string { return fmt.Sprintf("nats-server's memory, MiB, shards: %d", k) }
func figureBusIdle(k int) string   { return fmt.Sprintf("idle CPU, %% of a core, shards: %d", k) }
func figureBusPace(k int) string   { return fmt.Sprintf("commands/s, shards: %d", k) }
func figureBusCPU(k int) string    { return fmt.Sprintf("CPU, µs/command, shards: %d", k) }
func figureBusP99(k int) string    { return fmt.Sprintf("publish to event, p99, ms, shards: %d", k) }

// busOfShards is S15: what the bus has to do for one shard and for many. The workers are the
// real ones' side of the bus alone: they pull, publish an event and acknowledge, and ask what
// a worker asks; nobody deletes.
func busOfShards(most int) scenario {
	sc := scenario{id: "S15", title: "one nats-server for many shards, without databases", contestants: []contestant{lethe}, rounds: 2, run: runBusOfShards}
	for _, name := range []func(int) string{figureBusMemory, figureBusIdle, figureBusPace, figureBusCPU, figureBusP99} {
		for _, k := range []int{1, most} {
			sc.figures = append(sc.figures, figure{name: name(k)})
		}
	}
	return sc
}

func runBusOfShards(ctx context.Context, w *world, _ contestant) (sample, error) {
	s, events := sample{}, 0
	fleet := &fleet{w: w}
	defer fleet.close()
	for _, k := range []int{1, w.opts.Sizes.Shards} {
		if err := fleet.grow(ctx, k); err != nil {
			return nil, err
		}
		if err := fleet.idle(ctx, s, k); err != nil {
			return nil, err
		}
		if err := fleet.load(ctx, s, k, &events); err != nil {
			return nil, fmt.Errorf("%d shards: %w", k, err)
		}
	}
	return s, nil
}

// fleet is the workers of all shards.
type fleet struct {
	w       *world
	shards  []conversation.Shard
	brokers []*broker.Broker
	ends    []func()
}

// grow sets up shards and starts their workers, until there are k shards.
func (f *fleet) grow(ctx context.Context, k int) error {
	for len(f.shards) < k {
		shard := conversation.Shard(fmt.Sprintf("s%d", len(f.shards)))
		f.shards = append(f.shards, shard)
		for n := range workersPerShard {
			b, err := broker.Connect(ctx, broker.Config{URL: f.w.natsURL, Names: conversation.Names{}.InShard(shard), Name: fmt.Sprintf("%s-%d", shard, n)})
			if err != nil {
				return err
			}
			f.brokers = append(f.brokers, b)
			if n == 0 {
				if _, err := b.Setup(ctx, broker.SetupOptions{CommandsMaxBytes: shardBytes}); err != nil {
					return err
				}
			}
			f.run(ctx, b)
		}
	}
	return nil
}

// command is one in flight.
type command struct {
	delivery bus.Delivery
	slot     bus.Slot
}

// run does for each command what a worker does on the bus. What has gathered is
// announced together.
func (f *fleet) run(ctx context.Context, b *broker.Broker) {
	ctx, stop := context.WithCancel(ctx)
	taken := make(chan command, 4096)
	var both sync.WaitGroup
	both.Go(func() {
		defer close(taken)
		_ = b.Run(ctx, func(d bus.Delivery, s bus.Slot) { taken <- command{d, s} }) // what fails is missing in the end
	})
	both.Go(func() {
		for first := range taken {
			batch := []command{first}
			for len(batch) < 512 && len(taken) > 0 {
				batch = append(batch, <-taken)
			}
			f.finish(context.WithoutCancel(ctx), b, batch)
		}
	})
	f.ends = append(f.ends, func() { stop(); both.Wait() })
}

func (f *fleet) finish(ctx context.Context, b *broker.Broker, batch []command) {
	announced := make([]bus.Announcement, len(batch))
	for i, c := range batch {
		cmd, _ := conversation.Decode(c.delivery.Data) // ours
		announced[i] = bus.Announcement{Deleted: &conversation.Deleted{
			AppID: cmd.AppID, CommandID: cmd.CommandID, UserID: cmd.UserID, ConversationID: cmd.Conversations[0].ID, CompletedAt: time.Now(),
		}}
	}
	outcome := bus.Outcome{Verdict: bus.Done}
	if err := b.Publish(ctx, announced); err != nil {
		outcome.Verdict = bus.Retry
	}
	for _, c := range batch {
		c.slot.Settle(outcome)
	}
}

// idle measures what the bus costs while nothing is asked for, with what a worker asks
// every ten seconds.
func (f *fleet) idle(ctx context.Context, s sample, k int) error {
	before, known := cpuOf(f.w.nats.pid)
	began := time.Now()
	for time.Since(began) < f.w.opts.Sizes.Idle {
		for _, b := range f.brokers {
			if _, err := b.Backlog(ctx); err != nil {
				return err
			}
		}
		select {
		case <-time.After(min(10*time.Second, f.w.opts.Sizes.Idle)):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	after, ok := cpuOf(f.w.nats.pid)
	if memory, found := peakOf(f.w.nats.pid); found && ok && known {
		s[figureBusIdle(k)] = 100 * (after - before) / time.Since(began).Seconds()
		s[figureBusMemory(k)] = memory
	}
	return nil
}

// load measures S1's number of commands at once, spread over the shards, and then single ones.
func (f *fleet) load(ctx context.Context, s sample, k int, events *int) error {
	n := f.w.opts.Sizes.Small
	before, known := cpuOf(f.w.nats.pid)
	began := time.Now()
	for i, shard := range f.shards {
		one := &world{js: f.w.js, shard: string(shard)}
		if err := one.publish(ctx, f.commands(shard, "many", n*(i+1)/k-n*i/k)); err != nil {
			return err
		}
	}
	*events += n
	end, err := f.await(ctx, *events)
	if err != nil {
		return err
	}
	if after, ok := cpuOf(f.w.nats.pid); ok && known {
		s[figureBusCPU(k)] = 1e6 * (after - before) / float64(n)
	}
	s[figureBusPace(k)] = float64(n) / end.Sub(began).Seconds()
	s[figureBusP99(k)], err = f.alone(ctx)
	*events += f.w.opts.Sizes.Alone
	return err
}

// alone sends single commands, to one shard after the other, and returns the p99 in ms.
func (f *fleet) alone(ctx context.Context) (float64, error) {
	told := make(chan *nats.Msg, 16)
	sub, err := f.w.nc.ChanSubscribe("conversation.deleted.>", told)
	if err != nil {
		return 0, err
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection is closed soon
	var took []time.Duration
	for i := range f.w.opts.Sizes.Alone {
		shard := f.shards[i%len(f.shards)]
		one := &world{js: f.w.js, shard: string(shard)}
		began := time.Now()
		if err := one.publish(ctx, f.commands(shard, fmt.Sprint("alone", i), 1)); err != nil {
			return 0, err
		}
		select {
		case <-told:
			took = append(took, time.Since(began))
		case <-time.After(startTimeout):
			return 0, errors.New("no event of a single command")
		}
	}
	return milliseconds(percentile(took, 0.99)), nil
}

// commands are n of a shard's, whose ids begin with name.
func (f *fleet) commands(shard conversation.Shard, name string, n int) []conversation.Command {
	commands := smallCommandsOf(n)
	for i := range commands {
		commands[i].CommandID = fmt.Sprintf("%d-%s-%s-%d", len(f.shards), shard, name, i)
	}
	return commands
}

// await waits until the events' stream has n, and returns when it got the last one.
func (f *fleet) await(ctx context.Context, n int) (time.Time, error) {
	events, err := f.w.js.Stream(ctx, conversation.EventsStream)
	for err == nil {
		info, ierr := events.Info(ctx)
		if ierr == nil && info.State.Msgs >= uint64(n) { //nolint:gosec // n is no negative number
			return info.State.LastTime, nil
		}
		select {
		case <-time.After(askEvery):
			err = ierr
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	return time.Time{}, err
}

func (f *fleet) close() {
	for _, end := range f.ends {
		end()
	}
	for _, b := range f.brokers {
		_ = b.Close() // nothing is on its way
	}
}
