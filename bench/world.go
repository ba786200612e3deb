package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
)

const (
	// startPatience bounds the start of a process until it is ready.
	startPatience = time.Minute
	// readyPoll is how often a starting worker is asked.
	readyPoll = 5 * time.Millisecond
)

// world is one trial's own database and nats-server. Its tables and streams are
// made by the worker's own setup, for every contestant.
type world struct {
	*stack
	database string // address
	drop     func(context.Context) error
	conn     *pgx.Conn // the bench's own; one statement at a time
	nats     *process
	natsURL  string
	nc       *nats.Conn
	js       jetstream.JetStream

	contestant *process // nil: none runs
}

// newWorld makes an empty world. Close it.
func (s *stack) newWorld(ctx context.Context) (*world, error) {
	w := &world{stack: s}
	if err := w.open(ctx); err != nil {
		return nil, errors.Join(err, w.close(ctx))
	}
	return w, nil
}

func (w *world) open(ctx context.Context) (err error) {
	if w.database, w.drop, err = w.postgres.CreateDatabase(ctx); err != nil {
		return err
	}
	if w.conn, err = pgx.Connect(ctx, w.database); err != nil {
		return err
	}
	if err := w.startNATS(ctx); err != nil {
		return err
	}
	setup := exec.CommandContext(ctx, w.worker, "setup", "--sample-schema", "--database-url", w.database, "--nats-url", w.natsURL)
	setup.Env = bareEnviron()
	if out, err := setup.CombinedOutput(); err != nil {
		return fmt.Errorf("worker setup: %w\n%s", err, out)
	}
	_, err = w.conn.Exec(ctx, ownSchema)
	return err
}

// startNATS starts a nats-server in a process of its own and connects to it.
func (w *world) startNATS(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if w.nats, err = startProcess(ctx, "nats", w.dir, roleOf(roleNATS, w.opts.NATSSync), []string{w.self}); err != nil {
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

// start starts the contestant and waits until it is ready. It is given no
// command before resume.
func (w *world) start(ctx context.Context, who contestant, database string) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if err := w.pause(ctx); err != nil {
		return err
	}
	var err error
	if who == plain {
		env := append(roleOf(rolePlain, false), "DATABASE_URL="+database, "NATS_URL="+w.natsURL)
		if w.contestant, err = startProcess(ctx, "plain", w.dir, env, []string{w.self}); err == nil {
			_, err = w.contestant.ready(ctx)
		}
		return err
	}
	addr, err := freeAddr(ctx)
	if err != nil {
		return err
	}
	env := []string{"DATABASE_URL=" + database, "NATS_URL=" + w.natsURL, "HTTP_ADDR=" + addr}
	if w.contestant, err = startProcess(ctx, "lethe", w.dir, env, []string{w.worker, "run"}); err != nil {
		return err
	}
	return w.awaitReady(ctx, "http://"+addr+"/readyz")
}

// awaitReady asks the worker until it says that it is ready.
func (w *world) awaitReady(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	return w.until(ctx, readyPoll, func() (bool, error) {
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return false, nil //nolint:nilerr // it doesn't listen yet; the patience is bounded
		}
		return answer.StatusCode == http.StatusOK, answer.Body.Close()
	})
}

// until repeats ask until it says true, for as long as the contestant lives.
func (w *world) until(ctx context.Context, every time.Duration, ask func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		done, err := ask()
		if done || err != nil {
			return err
		}
		if err := w.contestant.alive(); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return w.contestant.explain(context.Cause(ctx))
		}
	}
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
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startPatience)
	defer cancel()
	if w.contestant != nil {
		w.contestant.kill()
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

// pause holds back all commands until resume, so that a contestant can be ready
// and its commands stored before the clock starts.
func (w *world) pause(ctx context.Context) error {
	_, err := w.js.PauseConsumer(ctx, conversation.CommandsStream, conversation.WorkerConsumer, time.Now().Add(trialLimit))
	return err
}

// resumeIn is how far ahead the end of a pause is announced. nats-server wakes
// those who wait when a pause runs out, but not when it is lifted.
const resumeIn = 20 * time.Millisecond

// resume lets the commands go, and returns the moment at which that is.
func (w *world) resume(ctx context.Context) (time.Time, error) {
	start := time.Now().Add(resumeIn)
	_, err := w.js.PauseConsumer(ctx, conversation.CommandsStream, conversation.WorkerConsumer, start)
	return start, err
}
