package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
)

const (
	// startTimeout bounds the start of a process until it is ready.
	startTimeout = time.Minute
	// readyPoll is how often a starting worker is asked.
	readyPoll = 5 * time.Millisecond
)

// world is one trial's own database and nats-server. Its tables and streams are
// made by the worker's own setup, for every contestant.
type world struct {
	*stack
	database string // address
	shard    string // of the worker and the commands; "" for none
	plan     string // of the worker; "" for the bundled one
	drop     func(context.Context) error
	conn     *pgx.Conn // the bench's own; one statement at a time
	nats     *process
	natsURL  string
	nc       *nats.Conn
	js       jetstream.JetStream

	contestant *process   // nil: none runs
	helpers    []*process // what else runs, of whatever kind

	series map[string]series // curves for the plots, by name
}

// newWorld makes the world of one trial: a copy of the scenario's data, and empty
// streams. Close it.
func (s *stack) newWorld(ctx context.Context, sc scenario, v variant) (*world, error) {
	f, err := s.fill(ctx, sc, v)
	if err != nil {
		return nil, err
	}
	w := &world{stack: s, plan: sc.plan}
	if err := w.openCopy(ctx, f, v); err != nil {
		return nil, errors.Join(err, w.close(ctx))
	}
	return w, nil
}

// openRest connects to the database, starts a nats-server, and has the worker set
// both up.
func (w *world) openRest(ctx context.Context, v variant) (err error) {
	if w.conn, err = pgx.Connect(ctx, w.database); err != nil {
		return err
	}
	if err := w.startNATS(ctx, w.opts.NATSSync || v.NATSSync); err != nil {
		return err
	}
	if err := w.setup(ctx, v); err != nil {
		return err
	}
	return w.limitPending(ctx, v.AckPending)
}

// setup has the worker set up the database and the streams.
func (w *world) setup(ctx context.Context, v variant) error {
	setup := exec.CommandContext(ctx, cmp.Or(v.Worker, w.worker), "setup", "--sample-schema", "--database-url", w.database, "--nats-url", w.natsURL)
	setup.Env = append(bareEnviron(), "LETHE_SHARD="+w.shard)
	if out, err := setup.CombinedOutput(); err != nil {
		return fmt.Errorf("worker setup: %w\n%s", err, out)
	}
	return nil
}

// limitPending changes how many commands the consumer hands out that aren't
// settled, unless n is 0.
func (w *world) limitPending(ctx context.Context, n int) error {
	if n == 0 {
		return nil
	}
	consumer, err := w.js.Consumer(ctx, conversation.CommandsStream, conversation.WorkerConsumer)
	if err != nil {
		return err
	}
	config := consumer.CachedInfo().Config
	config.MaxAckPending = n
	_, err = w.js.UpdateConsumer(ctx, conversation.CommandsStream, config)
	return err
}

// exec runs one statement on the bench's own connection.
func (w *world) exec(ctx context.Context, sql string, args ...any) error {
	if _, err := w.conn.Exec(ctx, sql, args...); err != nil {
		return fmt.Errorf("%.60s: %w", sql, err)
	}
	return nil
}

// startNATS starts a nats-server in its own process and connects to it.
func (w *world) startNATS(ctx context.Context, sync bool) (err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if w.nats, err = startProcess(ctx, "nats", w.dir, roleOf(roleNATS, sync), []string{w.self}); err != nil {
		return err
	}
	if w.natsURL, err = w.nats.ready(ctx); err != nil {
		return err
	}
	if w.nc, err = nats.Connect(w.natsURL, nats.Name("bench")); err != nil {
		return err
	}
	w.js, err = jetstream.New(w.nc, jetstream.WithPublishAsyncMaxPending(maxUnconfirmed))
	return err
}

// start starts the contestant, waits until it is ready, and stops it there: it does
// nothing before resume.
func (w *world) start(ctx context.Context, who contestant, database string, limits ...string) error {
	p, err := w.launch(ctx, who, database, limits...)
	w.contestant = p
	if err != nil {
		return err
	}
	return w.pause()
}

// launch starts a worker, lethe under these limits for tests, and waits until it is ready. Whoever calls it ends it.
func (w *world) launch(ctx context.Context, who contestant, database string, limits ...string) (p *process, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	env := []string{"DATABASE_URL=" + database, "NATS_URL=" + w.natsURL, "LETHE_SHARD=" + w.shard}
	if who == plain {
		if p, err = startProcess(ctx, "plain", w.dir, append(roleOf(rolePlain, false), env...), []string{w.self}); err == nil {
			_, err = p.ready(ctx)
		}
		return p, err
	}
	addr, err := freeAddr(ctx)
	if err != nil {
		return nil, err
	}
	if w.plan != "" {
		file := filepath.Join(w.dir, "plan.yaml")
		if err := os.WriteFile(file, []byte(w.plan), 0o600); err != nil {
			return nil, err
		}
		env = append(env, "LETHE_PLAN="+file)
	}
	v := w.opts.variant(who)
	argv := append([]string{cmp.Or(v.Worker, w.worker), "run"}, v.Flags...)
	env = append(env, "HTTP_ADDR="+addr, "LETHE_TEST_LIMITS="+strings.Join(append(limits, v.Limits...), " "))
	if p, err = startProcess(ctx, "lethe", w.dir, env, argv); err != nil {
		return nil, err
	}
	return p, awaitReady(ctx, p, "http://"+addr+"/readyz")
}

// awaitReady asks the worker until it says that it is ready.
func awaitReady(ctx context.Context, p *process, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	return p.until(ctx, readyPoll, func() (bool, error) {
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return false, nil //nolint:nilerr // it doesn't listen yet; startTimeout bounds it
		}
		return answer.StatusCode == http.StatusOK, answer.Body.Close()
	})
}

// until repeats ask until it says true, for as long as the contestant lives.
func (w *world) until(ctx context.Context, every time.Duration, ask func() (bool, error)) error {
	return w.contestant.until(ctx, every, ask)
}

// stop stops the contestant and notes its peak memory.
func (w *world) stop(s sample) error {
	p := w.contestant
	w.contestant = nil
	used, err := p.stop()
	if used.peak > 0 {
		s[figurePeak] = used.peak
	}
	return err
}

// close ends what runs, drops the database and removes the streams' files.
func (w *world) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
	defer cancel()
	for _, p := range append(w.helpers, w.contestant) {
		if p != nil {
			p.kill()
		}
	}
	if w.nc != nil {
		w.nc.Close()
	}
	var errs []error
	if w.nats != nil {
		_, err := w.nats.stop()
		errs = append(errs, err)
	}
	if w.conn != nil {
		errs = append(errs, w.conn.Close(ctx))
	}
	if w.drop != nil {
		errs = append(errs, w.drop(ctx))
	}
	return errors.Join(errs...)
}

// freeAddr is an address on this machine that nobody listens at just now.
func freeAddr(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// pause stops the contestant's process, so that it is ready and its commands are
// stored before the clock starts. A paused consumer wouldn't do: the worker notices
// it, and only looks again seconds later.
func (w *world) pause() error { return w.signal(syscall.SIGSTOP) }

// resume lets it go on, and returns the moment at which that was.
func (w *world) resume() (time.Time, error) { return time.Now(), w.signal(syscall.SIGCONT) }

// signal sends the contestant, all of its replicas, a signal.
func (w *world) signal(s syscall.Signal) error {
	for _, p := range append(w.helpers, w.contestant) {
		if p.alive() != nil {
			continue // a replica of an earlier step
		}
		if err := syscall.Kill(p.pid, s); err != nil {
			return p.explain(fmt.Errorf("signal %v: %w", s, err))
		}
	}
	return nil
}
