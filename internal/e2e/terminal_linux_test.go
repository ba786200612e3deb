package e2e

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/term"
)

// pty is a terminal of a test: what a program writes to it is in screen.
type pty struct {
	master, slave *os.File
	screen        *logBuffer
}

// newPTY opens a terminal of that size.
func newPTY(t *testing.T, columns, rows uint16) *pty {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	must(t, err)
	var unlock, number int32
	ioctl(t, master, syscall.TIOCSPTLCK, unsafe.Pointer(&unlock))
	ioctl(t, master, syscall.TIOCGPTN, unsafe.Pointer(&number))
	slave, err := os.OpenFile(fmt.Sprint("/dev/pts/", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	must(t, err)
	p := &pty{master, slave, &logBuffer{}}
	p.resize(t, columns, rows)
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(p.screen, master) // ends with an error, when the other side is closed
	}()
	t.Cleanup(func() {
		_ = slave.Close()
		_ = master.Close()
		<-read
	})
	return p
}

func ioctl(t *testing.T, f *os.File, request uintptr, value unsafe.Pointer) {
	t.Helper()
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), request, uintptr(value)); errno != 0 {
		t.Fatalf("ioctl %#x of %s: %v", request, f.Name(), errno)
	}
}

func (p *pty) resize(t *testing.T, columns, rows uint16) {
	t.Helper()
	ioctl(t, p.master, syscall.TIOCSWINSZ, unsafe.Pointer(&[4]uint16{rows, columns}))
}

// start starts a program on the terminal, and ends it after the test.
func (p *pty) start(t *testing.T, cmd *exec.Cmd) (ended chan error) {
	t.Helper()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.slave, p.slave, p.slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	must(t, cmd.Start())
	ended = make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return ended
}

// shows waits until the terminal has been written a text.
func (p *pty) shows(t *testing.T, text string) {
	t.Helper()
	eventually(t, timeout, "the terminal shows "+text, func() bool { return strings.Contains(p.screen.String(), text) })
}

func TestTopGivesTheTerminalBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.fill(t, chat{"demo", "alice", "c2c_bob"}, 1)
	r.send(t, chat{"demo", "alice", "c2c_bob"}.ask())
	for name, end := range map[string]func(*pty, *exec.Cmd) error{
		"q":       func(p *pty, _ *exec.Cmd) error { _, err := p.master.WriteString("q"); return err },
		"Ctrl-C":  func(p *pty, _ *exec.Cmd) error { _, err := p.master.WriteString("\x03"); return err },
		"SIGTERM": func(_ *pty, cmd *exec.Cmd) error { return cmd.Process.Signal(syscall.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPTY(t, 80, 24)
			before, err := term.GetState(int(p.slave.Fd()))
			must(t, err)
			cmd := r.command(t, []string{"top", "--interval", "500ms"})
			ended := p.start(t, cmd)
			p.shows(t, "\x1b[?1049h\x1b[?25l")
			p.shows(t, "commands: 1 waiting, 0 in flight, the oldest ")
			p.shows(t, "no worker pulls commands: see its log, or /readyz\x1b[K\r\n")
			p.resize(t, 30, 10)
			p.shows(t, "no worker pulls commands: see…\x1b[K\r\n")
			must(t, end(p, cmd))
			select {
			case err := <-ended:
				must(t, err)
			case <-time.After(stopLimit):
				t.Fatalf("it has not ended within %v", stopLimit)
			}
			eventually(t, timeout, "the cursor and the screen of before", func() bool { return strings.HasSuffix(p.screen.String(), "\x1b[?25h\x1b[?1049l") })
			if after, err := term.GetState(int(p.slave.Fd())); err != nil || *after != *before {
				t.Errorf("the terminal's mode is %+v, %v; was %+v", after, err, before)
			}
		})
	}
}

// In the operator's pod it refreshes on a terminal; without one it prints once.
func TestTheOperatorsPodHasATerminalForTop(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	must(t, os.WriteFile(filepath.Join(folder, "kubectl"), []byte("#!/bin/sh\ncase \"$*\" in *\" run \"*) echo \"ran: $*\" ;; esac\n"), 0o755)) //nolint:gosec // a program
	call := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), "../../deploy/kubernetes/operator", args...)
		cmd.Env = []string{"PATH=" + folder + ":" + os.Getenv("PATH")}
		return cmd
	}
	for _, c := range []struct {
		args []string
		tty  bool
	}{{[]string{"top"}, true}, {[]string{"status", "x"}, false}} {
		p := newPTY(t, 80, 24)
		must(t, <-p.start(t, call(c.args...)))
		p.shows(t, "ran: ")
		if got := strings.Contains(p.screen.String(), " --tty "); got != c.tty {
			t.Errorf("on a terminal %v: %s; want a terminal in the pod: %t", c.args, p.screen.String(), c.tty)
		}
		if out, err := call(c.args...).Output(); err != nil || strings.Contains(string(out), " --tty ") {
			t.Errorf("without a terminal %v: %s, %v; want none in the pod", c.args, out, err)
		}
	}
}
