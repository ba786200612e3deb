package localstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// processGuard runs its arguments as a process that ends with this one. Each line
// of its standard input names a signal for the process; the end of it, which
// comes without a call when this process is gone, means QUIT: Postgres then stops at
// once, and in order. QUIT is repeated until the process has ended, since a shell's
// background process ignores it until it has a handler. Descriptor 3 is the hold on the folder.
const processGuard = `
exec 4<&0 </dev/null
"$@" 4<&- &
server=$!
{
	while read -r signal; do kill -s "$signal" "$server"; done
	while kill -s QUIT "$server"; do sleep 0.1; done
} <&4 3>&- >/dev/null 2>&1 &
relay=$!
exec 4<&-
wait "$server"
status=$?
kill "$relay" 2>/dev/null
wait "$relay" 2>/dev/null
exit "$status"
`

// logGrace is how long a process's output is awaited after its end, for the case
// that a child of it lives on.
const logGrace = 5 * time.Second

// process is a running server process below its guard.
type process struct {
	control io.WriteCloser // standard input of the guard
	log     *tail
	done    chan struct{} // closed when the process has ended
	err     error         // how it ended; only after done
}

// processSpec says what startProcess starts.
type processSpec struct {
	account account
	hold    *os.File // kept open by the process and by all its children
	env     []string
	log     io.Writer // nil: nobody wants to see it
	argv    []string
}

// command is the spec as a command in its own session, so that what a
// terminal sends to this process doesn't reach it. It ends with ctx.
func (s processSpec) command(ctx context.Context, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = "/"
	cmd.Env = s.env
	cmd.ExtraFiles = []*os.File{s.hold}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: s.account.credential}
	cmd.WaitDelay = logGrace
	return cmd
}

// startProcess starts a server process that ends with this one.
func startProcess(ctx context.Context, spec processSpec) (*process, error) {
	argv := append([]string{"sh", "-c", processGuard, "lethe-process"}, spec.argv...)
	cmd := spec.command(context.WithoutCancel(ctx), argv...)
	control, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p := &process{control: control, log: &tail{next: spec.log}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.log, p.log
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, control.Close())
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// ended reports whether the process has ended.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// stop sends a signal by its name without "SIG" and waits for the end. A process
// that has ended already is fine, however it ended.
func (p *process) stop(ctx context.Context, signal string) error {
	if _, err := fmt.Fprintln(p.control, signal); err != nil && !p.ended() && !errors.Is(err, syscall.EPIPE) {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("still running after SIG%s: %w", signal, context.Cause(ctx))
	}
}
