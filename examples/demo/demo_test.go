package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"
)

// asDemo is the variable that makes this test's binary the demo itself.
const asDemo = "LETHE_TEST_AS_DEMO"

func TestMain(m *testing.M) {
	if os.Getenv(asDemo) != "" {
		main()
	}
	goleak.VerifyTestMain(m)
}

// small is quick, and goes through the same code.
var small = []string{"-chats=20", "-group=20000", "-ack-wait=2s"}

// demo is a running demo, with its own folder for everything it makes.
type demo struct {
	cmd    *exec.Cmd
	folder string
	stdout *bufio.Reader
	stderr bytes.Buffer
	text   strings.Builder // what was read of stdout
}

func startDemo(t *testing.T, args ...string) *demo {
	t.Helper()
	// Short, since sockets are in it, and open for the user that Postgres runs as.
	folder, err := os.MkdirTemp("/tmp", "demo") //nolint:usetesting // t.TempDir is too long and closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) }) // empty, or the test has failed
	if err := os.Chmod(folder, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	d := &demo{cmd: exec.CommandContext(t.Context(), os.Args[0], args...), folder: folder}
	d.cmd.Env = append(os.Environ(), asDemo+"=1", "TMPDIR="+folder)
	d.cmd.Stderr = &d.stderr
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	d.stdout = bufio.NewReader(stdout)
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return d
}

// readTo reads the output up to a line with text in it, and returns what follows
// the text.
func (d *demo) readTo(t *testing.T, text string) string {
	t.Helper()
	for {
		line, err := d.stdout.ReadString('\n')
		d.text.WriteString(line)
		if _, after, found := strings.Cut(line, text); found {
			return after
		}
		if err != nil {
			t.Fatalf("no line %q: %v\n%s%s", text, err, &d.text, &d.stderr)
		}
	}
}

// end reads the rest and returns the exit status, -1 after a signal that killed.
func (d *demo) end(t *testing.T) int {
	t.Helper()
	rest, err := io.ReadAll(d.stdout)
	d.text.Write(rest)
	var exit *exec.ExitError
	if waitErr := d.cmd.Wait(); err != nil || waitErr != nil && !errors.As(waitErr, &exit) {
		t.Fatal(errors.Join(err, waitErr))
	}
	return d.cmd.ProcessState.ExitCode()
}

// left says what is still there of all that the demo has started and written: its
// processes have the folder in their arguments.
func (d *demo) left(t *testing.T) string {
	t.Helper()
	entries, err := os.ReadDir(d.folder)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ps", "-A", "-o", "stat=,pid=,args=").Output()
	if err != nil {
		t.Fatalf("ps: %v", err)
	}
	var found []string
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, d.folder) && !strings.HasPrefix(line, "Z") {
			found = append(found, strings.TrimSpace(line))
		}
	}
	if len(entries) == 0 && len(found) == 0 {
		return ""
	}
	return fmt.Sprintf("files %v, processes %q", entries, found)
}

// awaitNothingLeft waits until all that the killed demo has started and written is
// gone.
func (d *demo) awaitNothingLeft(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	left := ""
	if err := until(ctx, 20*time.Millisecond, func() (bool, error) {
		left = d.left(t)
		return left == "", nil
	}); err != nil {
		t.Errorf("left behind: %s", left)
	}
}

func TestDemoHoldsOnASmallScale(t *testing.T) {
	t.Parallel()
	d := startDemo(t, small...)
	if code := d.end(t); code != exitHeld {
		t.Fatalf("exit status %d; want %d\n%s%s", code, exitHeld, &d.text, &d.stderr)
	}
	text := d.text.String()
	for _, want := range []string{"alice-laptop   is not notified", "100 %", "kill -9", "✓ rows left at or below a boundary", "All of it held."} {
		if !strings.Contains(text, want) {
			t.Errorf("the output has no %q", want)
		}
	}
	for line := range strings.Lines(text) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > lineWidth {
			t.Errorf("%d columns; want at most %d: %s", n, lineWidth, line)
		}
	}
	if strings.ContainsAny(text, "\x1b\r✗") {
		t.Errorf("colours, a drawn line or a failure in output that goes to no terminal:\n%q", text)
	}
	if left := d.left(t); left != "" {
		t.Errorf("left behind: %s", left)
	}
	if d.stderr.Len() > 0 {
		t.Errorf("on standard error: %s", &d.stderr)
	}
}

func TestInterruptedDemoLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	d := startDemo(t, small...)
	d.readTo(t, "worker run, as process")
	if left := d.left(t); left == "" {
		t.Error("nothing seems to run, although a worker does")
	}
	if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := d.end(t); code != exitInterrupted {
		t.Errorf("exit status %d; want %d\n%s%s", code, exitInterrupted, &d.text, &d.stderr)
	}
	if left := d.left(t); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

func TestKilledDemoLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	d := startDemo(t, small...)
	d.readTo(t, "worker run, as process")
	if err := d.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	d.end(t)
	d.awaitNothingLeft(t)
}

func TestWorkerThatEndsByItselfIsAFailureWithTheLog(t *testing.T) {
	t.Parallel()
	d := startDemo(t, small...)
	var pid int
	if _, err := fmt.Sscan(d.readTo(t, "worker run, as process"), &pid); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if code := d.end(t); code != exitFailed {
		t.Errorf("exit status %d; want %d", code, exitFailed)
	}
	for _, want := range []string{"a worker has ended unexpectedly: signal: killed", "log of the servers and the workers is in " + d.folder, "msg=starting"} {
		if !strings.Contains(d.stderr.String(), want) {
			t.Errorf("standard error has no %q:\n%s", want, &d.stderr)
		}
	}
	logs, err := filepath.Glob(filepath.Join(d.folder, "lethe-demo-*.log"))
	if err != nil || len(logs) != 1 {
		t.Fatalf("logs: %v, %v; want one", logs, err)
	}
	if err := os.Remove(logs[0]); err != nil {
		t.Fatal(err)
	}
	if left := d.left(t); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

func TestLineThatDoesNotHoldFailsTheTable(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	s := &story{out: &printer{w: &text, width: lineWidth}}
	if !s.printTable([]check{equal("a", 1, 1), equal("b", int64(0), 0)}) {
		t.Errorf("printTable = false for a table that holds:\n%s", &text)
	}
	if s.printTable([]check{equal("a", 1, 1), equal("b", 1, 2), equal("c", 3, 3)}) {
		t.Errorf("printTable = true; want false:\n%s", &text)
	}
	if !strings.Contains(text.String(), " ✗ b") {
		t.Errorf("the wrong line isn't marked:\n%s", &text)
	}
}

func TestWrongFlagIsAUsageError(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-chats=2"}, {"-group=9999"}, {"-ack-wait=1s"}, {"-nothing"}, {"more"}, {"page", "-addr=8080"}, {"page", "more"}} {
		var stdout, stderr strings.Builder
		if code := run(t.Context(), args, &stdout, &stderr); code != exitUsage {
			t.Errorf("run(%q) = %d; want %d", args, code, exitUsage)
		}
		if stdout.Len() > 0 || stderr.Len() == 0 {
			t.Errorf("run(%q) printed %q and told %q; want the reason on standard error", args, &stdout, &stderr)
		}
	}
}
