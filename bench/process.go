package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// processGuard runs its arguments as a process that ends with this one. It says
// the process's id on standard output. Each line of its standard input names a
// signal; the end of it, which comes without a call when this process is gone, kills.
const processGuard = `
exec 3<&0
"$@" </dev/null 3<&- &
process=$!
echo "pid $process"
{
	while read -r signal; do kill -s "$signal" "$process"; done
	kill -s KILL "$process"
} <&3 3<&- >/dev/null 2>&1 &
relay=$!
exec 3<&-
wait "$process"
status=$?
kill "$relay" 2>/dev/null
wait "$relay" 2>/dev/null
exit "$status"
`

const (
	// stopTimeout is how long a process may take for its end; the worker
	// promises 10 s.
	stopTimeout = 20 * time.Second
	// logTail is how much of a process's log goes with an error.
	logTail = 4 << 10
	// readyWord starts the line by which our own roles say that they are ready.
	readyWord = "ready "
)

// process is a child process below its guard.
type process struct {
	name    string
	pid     int
	control io.WriteCloser
	said    chan string // its one line that starts with readyWord
	log     string      // path of what it wrote to standard error
	done    chan struct{}
	usage   usage // only after done
	err     error // only after done
}

// usage is what a process took in all.
type usage struct {
	cpu  float64 // seconds
	peak float64 // maximum resident memory in MiB, up to the moment of its stop
}

// startProcess starts argv with env alone. Its log is a file in dir.
func startProcess(ctx context.Context, name, dir string, env, argv []string) (*process, error) {
	log, err := os.CreateTemp(dir, name+"-*.log")
	if err != nil {
		return nil, err
	}
	defer log.Close() //nolint:errcheck // the child has its own
	p := &process{name: name, said: make(chan string, 1), log: log.Name(), done: make(chan struct{})}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "sh", append([]string{"-c", processGuard, "bench-" + name}, argv...)...)
	cmd.Env = append(bareEnviron(), env...)
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a terminal's ^C is for us alone
	if p.control, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		return nil, errors.Join(fmt.Errorf("%s: its guard said nothing", name), lines.Err(), cmd.Wait())
	}
	if p.pid, err = strconv.Atoi(strings.TrimPrefix(lines.Text(), "pid ")); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: its guard said %q", name, lines.Text()), p.control.Close(), cmd.Wait())
	}
	go p.follow(cmd, lines)
	return p, nil
}

// bareEnviron is what a child gets of our environment: nothing that could change
// what it does.
func bareEnviron() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.TempDir()}
}

// follow reads what the process says until its end.
func (p *process) follow(cmd *exec.Cmd, lines *bufio.Scanner) {
	defer close(p.done)
	for lines.Scan() {
		if word, ok := strings.CutPrefix(lines.Text(), readyWord); ok {
			select {
			case p.said <- word:
			default:
			}
		}
	}
	p.err = errors.Join(lines.Err(), cmd.Wait())
	if r, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		unit := float64(1 << 10) // Linux counts in KiB
		if runtime.GOOS == "darwin" {
			unit = 1
		}
		p.usage = usage{cpu: (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds(), peak: float64(r.Maxrss) * unit / (1 << 20)}
	}
}

// ready waits for the line by which one of our own roles says that it is ready.
func (p *process) ready(ctx context.Context) (string, error) {
	select {
	case word := <-p.said:
		return word, nil
	case <-p.done:
		return "", p.ended()
	case <-ctx.Done():
		return "", p.explain(context.Cause(ctx))
	}
}

// alive is nil while the process runs.
func (p *process) alive() error {
	select {
	case <-p.done:
		return p.ended()
	default:
		return nil
	}
}

// until repeats ask until it says true, for as long as the process lives.
func (p *process) until(ctx context.Context, every time.Duration, ask func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		done, err := ask()
		if done || err != nil {
			return err
		}
		if err := p.alive(); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return p.explain(context.Cause(ctx))
		}
	}
}

// ended says that, and how, the process has ended too early.
func (p *process) ended() error {
	if p.err == nil {
		return p.explain(errors.New("ended too early"))
	}
	return p.explain(p.err)
}

// explain adds the end of the process's log to an error.
func (p *process) explain(err error) error {
	said, readErr := os.ReadFile(p.log)
	if readErr != nil {
		return fmt.Errorf("%s: %w", p.name, errors.Join(err, readErr))
	}
	if len(said) > logTail {
		said = append([]byte("…"), said[len(said)-logTail:]...)
	}
	return fmt.Errorf("%s: %w; %s ends with:\n%s", p.name, err, filepath.Base(p.log), said)
}

// stop ends the process by SIGTERM and says what it took. It must not have ended
// before.
func (p *process) stop() (usage, error) {
	if err := p.alive(); err != nil {
		return usage{}, err
	}
	peak, ok := peakOf(p.pid)
	_, err := io.WriteString(p.control, "TERM\n")
	select {
	case <-p.done:
		if ok {
			p.usage.peak = peak
		}
		if p.err != nil {
			return p.usage, p.ended()
		}
		return p.usage, err
	case <-time.After(stopTimeout):
		p.kill()
		return p.usage, p.explain(fmt.Errorf("still there %v after SIGTERM", stopTimeout))
	}
}

// kill ends the process if it is still there. Without effect the second time.
func (p *process) kill() {
	_ = p.control.Close() // the guard kills at the end of its input
	<-p.done
}
