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

// shardCounts are how many shards work at the same time in S14.
var shardCounts = []int{1, 2, 3}

func figureShards(k int) string     { return fmt.Sprintf("commands/s, shards: %d", k) }
func figureShardCores(k int) string { return fmt.Sprintf("cores busy, shards: %d", k) }
func figureFarShards(k int) string  { return fmt.Sprintf("commands/s 5 ms away, shards: %d", k) }
func figureFarLinear(k int) string {
	return fmt.Sprintf("share of linear 5 ms away, shards: %d", k)
}

// shards is S14: shards that share the bus, each with a Postgres server and a worker. Near,
// they share the machine's cores; 5 ms away and one command at a time, each waits for its own
// database most of the time.
func shards() scenario {
	sc := scenario{id: "S14", title: "shards on one bus, each with its own Postgres", contestants: []contestant{lethe}, rounds: 2, run: runShards}
	for _, name := range []func(int) string{figureShards, figureShardCores, figureFarShards} {
		for _, k := range shardCounts {
			sc.figures = append(sc.figures, figure{name: name(k)})
		}
	}
	for _, k := range shardCounts[1:] {
		sc.figures = append(sc.figures, figure{name: figureFarLinear(k), goals: []goal{{sense: atLeast, number: 0.9}}})
	}
	return sc
}

// shard is the world of one shard: a database on a server of its own, and the bus of all.
type shard struct {
	*world
	far      string // the database's address 5 ms away
	closeAll func() error
	commands []conversation.Command
	done     int // of the commands
}

// newShard starts a server, fills its database with n conversations, and sets the shard up.
func (w *world) newShard(ctx context.Context, name string, n int) (*shard, error) {
	settings := w.opts.postgresSettings()
	settings["shared_buffers"] = "256MB" // there are several
	pg, err := localstack.StartPostgres(ctx, localstack.PostgresOptions{Durable: !w.opts.Smoke, Settings: settings})
	if err != nil {
		return nil, err
	}
	stack := *w.stack
	stack.postgres = pg
	s := &shard{world: &world{stack: &stack, shard: name, natsURL: w.natsURL, nc: w.nc, js: w.js, nats: w.nats}, closeAll: pg.Close}
	if s.database, _, err = pg.CreateDatabase(ctx); err != nil {
		return s, err
	}
	if s.conn, err = pgx.Connect(ctx, s.database); err != nil {
		return s, err
	}
	if err := s.setup(ctx, variant{}); err != nil {
		return s, err
	}
	proxy, far, err := localstack.OpenPostgresProxy(ctx, s.database, roundTrip/2)
	if err != nil {
		return s, err
	}
	s.far, s.closeAll = far, func() error { return errors.Join(proxy.Close(), pg.Close()) } //nolint:contextcheck // it must stop, also after ctx has ended
	s.commands = smallCommandsOf(n)
	for i := range s.commands {
		s.commands[i].CommandID = name + "-" + s.commands[i].CommandID
	}
	return s, errors.Join(s.loadSmall(ctx, n, w.opts.Sizes.MessagesEach), s.settleData(ctx))
}

// close ends what runs of the shard.
func (s *shard) close(ctx context.Context) error {
	if s.contestant != nil {
		s.contestant.kill()
	}
	var err error
	if s.conn != nil {
		err = s.conn.Close(context.WithoutCancel(ctx))
	}
	return errors.Join(err, s.closeAll())
}

func runShards(ctx context.Context, w *world, who contestant) (s sample, err error) {
	near, far := w.opts.Sizes.Small, w.opts.Sizes.PerReplica
	var all []*shard
	defer func() {
		for _, one := range all {
			err = errors.Join(err, one.close(ctx))
		}
	}()
	var commands []conversation.Command
	for i := range shardCounts[len(shardCounts)-1] {
		one, err := w.newShard(ctx, fmt.Sprintf("s%d", i), (len(shardCounts)-i)*(near+far)/perUser*perUser)
		if one != nil {
			all = append(all, one)
		}
		if err != nil {
			return nil, err
		}
		commands = append(commands, one.commands...)
	}
	s = sample{}
	events := 0
	for _, k := range shardCounts {
		pace, cores, err := runShardsOf(ctx, all[:k], near, &events, func(one *shard) error { return one.start(ctx, who, one.database) })
		if err != nil {
			return nil, fmt.Errorf("%d shards: %w", k, err)
		}
		s[figureShards(k)] = pace
		if cores > 0 {
			s[figureShardCores(k)] = cores
		}
		pace, _, err = runShardsOf(ctx, all[:k], far, &events, func(one *shard) error { return one.start(ctx, who, one.far, farLimits...) })
		if err != nil {
			return nil, fmt.Errorf("%d shards 5 ms away: %w", k, err)
		}
		s[figureFarShards(k)] = pace
		s[figureFarLinear(k)] = pace / (float64(k) * s[figureFarShards(1)])
	}
	for _, one := range all {
		if err := one.checkSmall(ctx, len(one.commands), w.opts.Sizes.MessagesEach); err != nil {
			return nil, fmt.Errorf("shard %s: %w", one.shard, err)
		}
	}
	return s, w.checkEvents(ctx, commands, same(w.opts.Sizes.MessagesEach))
}

// runShardsOf has each of these shards do the next n of its commands, all at the same time. It
// returns how many commands a second that were, and how many cores they kept busy, 0 where
// that can't be told. events counts those of the whole trial.
func runShardsOf(ctx context.Context, all []*shard, n int, events *int, start func(*shard) error) (pace, cores float64, err error) {
	for _, one := range all {
		if err := start(one); err != nil {
			return 0, 0, err
		}
		next := one.commands[one.done : one.done+n]
		one.done += n
		if err := errors.Join(one.publish(ctx, next), one.checkpoint(ctx)); err != nil {
			return 0, 0, err
		}
	}
	*events += n * len(all)
	before, known := cpuOfShards(all)
	began := time.Now()
	for _, one := range all {
		if _, err := one.resume(); err != nil {
			return 0, 0, err
		}
	}
	end, err := all[0].awaitEvents(ctx, *events)
	if err != nil {
		return 0, 0, err
	}
	took := end.Sub(began).Seconds()
	if after, ok := cpuOfShards(all); ok && known {
		cores = (after - before) / took
	}
	for _, one := range all {
		_, settled := one.awaitSettled(ctx)
		err = errors.Join(err, settled, one.stop(sample{}))
	}
	return float64(n*len(all)) / took, cores, err
}

// cpuOfShards is the CPU seconds of the workers, the servers and the bus.
func cpuOfShards(all []*shard) (sum float64, ok bool) {
	sum, ok = cpuOf(all[0].nats.pid)
	for _, one := range all {
		postgres, found := one.postgresPID()
		if !found {
			return 0, false
		}
		server, known := cpuOfTree(postgres)
		worker, alsoKnown := cpuOf(one.contestant.pid)
		sum, ok = sum+server+worker, ok && known && alsoKnown
	}
	return sum, ok
}
