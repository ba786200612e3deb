package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	readyLimit = 30 * time.Second // for a start of milliseconds
	stopLimit  = 10 * time.Second // what the worker promises
)

// worker is a process of `worker run`.
type worker struct {
	cmd    *exec.Cmd
	guard  *guard
	http   string        // where it serves /readyz
	done   chan struct{} // closed when it has ended
	err    error         // how; only after done
	wanted chan struct{} // closed when it is to end
}

// environment is what every call of the worker gets to know; the flags come on
// top of it. Nothing of the caller's may bend the story, but for what goes with
// their DATABASE_URL.
func (s *stack) environment() []string {
	env := []string{"TMPDIR=" + s.guard.folder, "NATS_URL=" + s.nats.URL(), "DATABASE_URL=" + s.database}
	for _, variable := range os.Environ() {
		if strings.HasPrefix(variable, "PG") || strings.HasPrefix(variable, "PATH=") || strings.HasPrefix(variable, "HOME=") {
			env = append(env, variable)
		}
	}
	return env
}

// call runs a subcommand of the worker to its end, such as `worker setup`.
func (s *stack) call(args ...string) error {
	cmd := exec.CommandContext(s.ctx, s.binary, args...)
	cmd.Env = s.environment()
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = s.log, &errs
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("worker %s: %w: %s", args[0], err, strings.TrimSpace(errs.String()))
	}
	return nil
}

// startWorker runs a worker and waits until it is ready.
func (s *stack) startWorker(flags ...string) error {
	address, err := freeAddress(s.ctx)
	if err != nil {
		return err
	}
	w := &worker{http: address, guard: s.guard, done: make(chan struct{}), wanted: make(chan struct{})}
	// No context ends it: kill and stop do.
	w.cmd = exec.Command(s.binary, append([]string{"run", "--http-addr=" + address}, flags...)...) //nolint:noctx // see above
	w.cmd.Env = s.environment()
	w.cmd.Stdout, w.cmd.Stderr = s.log, s.log
	if err := s.guard.start(w.cmd); err != nil {
		return err
	}
	s.worker = w
	go func() {
		w.err = w.cmd.Wait()
		close(w.done)
		select {
		case <-w.wanted:
		default:
			s.fail(fmt.Errorf("a worker has ended by itself: %s", w.cmd.ProcessState))
		}
	}()
	return w.awaitReady(s.ctx)
}

// awaitReady waits until /readyz says so.
func (w *worker) awaitReady(ctx context.Context) error {
	limited, cancel := context.WithTimeoutCause(ctx, readyLimit, fmt.Errorf("a worker was not ready within %v", readyLimit))
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return until(limited, 5*time.Millisecond, func() (bool, error) {
		req, err := http.NewRequestWithContext(limited, http.MethodGet, "http://"+w.http+"/readyz", nil)
		if err != nil {
			return false, err
		}
		res, err := client.Do(req)
		if err != nil {
			return false, nil //nolint:nilerr // it doesn't listen yet
		}
		return res.StatusCode == http.StatusOK, res.Body.Close()
	})
}

// kill is kill -9, and waits for the end. A second call does nothing.
func (w *worker) kill() {
	if !w.ends() {
		return
	}
	_ = w.cmd.Process.Kill() // fails only if it has ended
	<-w.done
	_ = w.guard.forget()
}

// stop is SIGTERM: the worker puts down its work and ends with status 0.
func (w *worker) stop() error {
	if !w.ends() {
		return nil
	}
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-w.done:
	case <-time.After(stopLimit):
		_ = w.cmd.Process.Kill() // fails only if it has ended
		<-w.done
		return errors.Join(fmt.Errorf("a worker did not stop within %v of SIGTERM", stopLimit), w.guard.forget())
	}
	if w.err != nil {
		return errors.Join(fmt.Errorf("a worker did not end well after SIGTERM: %w", w.err), w.guard.forget())
	}
	return w.guard.forget()
}

// ends notes that the end is wanted, and reports whether this call was the first.
func (w *worker) ends() bool {
	select {
	case <-w.wanted:
		return false
	default:
		close(w.wanted)
		return true
	}
}

// peakMemory is the most memory the ended process had resident, in bytes.
func (w *worker) peakMemory() int64 {
	usage, ok := w.cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	if runtime.GOOS == "darwin" {
		return usage.Maxrss
	}
	return usage.Maxrss * 1024
}

// freeAddress is an address of this machine that nobody listens on.
func freeAddress(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// until asks again and again until the answer is yes. The error is the
// question's, or the cause of the context's end.
func until(ctx context.Context, pause time.Duration, ask func() (bool, error)) error {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		yes, err := ask()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case yes || err != nil:
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}
