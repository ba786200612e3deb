package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

const (
	readyLimit = 30 * time.Second // for a start of milliseconds
	stopLimit  = 10 * time.Second // what the worker promises
)

// program is a process of ours that serves /readyz.
type program struct {
	name   string // "a worker"
	cmd    *exec.Cmd
	guard  *guard
	http   string        // where it serves /readyz
	done   chan struct{} // closed when it has ended
	err    error         // how; only after done
	wanted chan struct{} // closed when it is to end
}

// startProgram runs cmd, which serves at an address, and waits until it is ready.
// An unexpected end fails the stack.
func (s *stack) startProgram(name, address string, cmd *exec.Cmd) (*program, error) {
	p := &program{name: name, cmd: cmd, guard: s.guard, http: address, done: make(chan struct{}), wanted: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = s.log, s.log
	if err := s.guard.start(cmd); err != nil {
		return nil, err
	}
	s.programs = append(s.programs, p)
	go func() {
		p.err = cmd.Wait()
		close(p.done)
		select {
		case <-p.wanted:
		default:
			s.fail(fmt.Errorf("%s has ended unexpectedly: %s", p.name, cmd.ProcessState))
		}
	}()
	return p, p.awaitReady(s.ctx)
}

// awaitReady waits until /readyz says so.
func (p *program) awaitReady(ctx context.Context) error {
	limited, cancel := context.WithTimeoutCause(ctx, readyLimit, fmt.Errorf("%s was not ready within %v", p.name, readyLimit))
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return until(limited, 5*time.Millisecond, func() (bool, error) {
		req, err := http.NewRequestWithContext(limited, http.MethodGet, "http://"+p.http+"/readyz", nil)
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
func (p *program) kill() {
	if !p.ends() {
		return
	}
	_ = p.cmd.Process.Kill() // fails only if it has ended
	<-p.done
	_ = p.guard.forget(p.cmd)
}

// stop is SIGTERM: the program puts down its work and ends with status 0.
func (p *program) stop() error {
	if !p.ends() {
		return nil
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
	case <-time.After(stopLimit):
		_ = p.cmd.Process.Kill() // fails only if it has ended
		<-p.done
		return errors.Join(fmt.Errorf("%s did not stop within %v of SIGTERM", p.name, stopLimit), p.guard.forget(p.cmd))
	}
	if p.err != nil {
		return errors.Join(fmt.Errorf("%s did not end well after SIGTERM: %w", p.name, p.err), p.guard.forget(p.cmd))
	}
	return p.guard.forget(p.cmd)
}

// ends notes that the end is wanted, and reports whether this call was the first.
func (p *program) ends() bool {
	select {
	case <-p.wanted:
		return false
	default:
		close(p.wanted)
		return true
	}
}

// peakMemory is the most memory the ended process had resident, in bytes.
func (p *program) peakMemory() int64 {
	usage, ok := p.cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	if runtime.GOOS == "darwin" {
		return usage.Maxrss
	}
	return usage.Maxrss * 1024
}
