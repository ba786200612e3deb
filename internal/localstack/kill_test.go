package localstack

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// child is a process that has started, or is starting, both servers.
type child struct {
	cmd    *exec.Cmd
	output *bufio.Reader
	temp   string // its folder for temporary files
}

// startChild starts this test binary as a child. It must be killed.
func startChild(t *testing.T) *child {
	t.Helper()
	c := &child{temp: openFolder(t)}
	c.cmd = exec.CommandContext(t.Context(), os.Args[0])
	c.cmd.Env = append(os.Environ(), childVariable+"=1", "TMPDIR="+c.temp)
	c.cmd.Stderr = os.Stderr
	if _, err := c.cmd.StdinPipe(); err != nil { // held open: the child waits for its end
		t.Fatal(err)
	}
	output, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.output = bufio.NewReader(output)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

// line is the child's next line.
func (c *child) line(t *testing.T) string {
	t.Helper()
	line, err := c.output.ReadString('\n')
	if err != nil {
		t.Fatalf("child: %v", err)
	}
	return strings.TrimSpace(line)
}

// kill is kill -9.
func (c *child) kill(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, c.output)
	_ = c.cmd.Wait() // says that it was killed
}

// running is a line of ps.
type running struct {
	pid, parent int
	args        string
}

// processes lists all processes but the dead ones that nobody has asked about yet.
func processes(ctx context.Context, t *testing.T) []running {
	t.Helper()
	out, err := exec.CommandContext(ctx, "ps", "-A", "-o", "pid=,ppid=,stat=,args=").Output()
	if err != nil {
		t.Fatalf("ps: %v", err)
	}
	var all []running
	for line := range bytes.Lines(out) {
		words := strings.Fields(string(line))
		if len(words) < 4 || strings.HasPrefix(words[2], "Z") {
			continue
		}
		pid, _ := strconv.Atoi(words[0])
		parent, _ := strconv.Atoi(words[1])
		all = append(all, running{pid, parent, strings.Join(words[3:], " ")})
	}
	return all
}

// family is the processes that name the folder, and their descendants.
func family(all []running, folder string) []running {
	var found []running
	isFamily := func(p running) bool {
		return strings.Contains(p.args, folder) ||
			slices.ContainsFunc(found, func(known running) bool { return known.pid == p.parent })
	}
	for {
		before := len(found)
		for _, p := range all {
			if !slices.Contains(found, p) && isFamily(p) {
				found = append(found, p)
			}
		}
		if len(found) == before {
			return found
		}
	}
}

// left says which of the processes run, and what is in the folder.
func left(t *testing.T, started []running, folder string) string {
	t.Helper()
	all := processes(t.Context(), t)
	still := family(all, folder)
	for _, p := range started {
		if slices.ContainsFunc(all, func(now running) bool { return now.pid == p.pid && now.args == p.args }) {
			still = append(still, p)
		}
	}
	if found := names(t, folder); len(still) > 0 || found != "" {
		return fmt.Sprintf("processes %v, files %s", still, found)
	}
	return ""
}

func TestKilledProcessLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	c := startChild(t)
	store, cluster := c.line(t), c.line(t)
	for _, folder := range []string{store, cluster} {
		if !exists(folder) || !strings.HasPrefix(folder, c.temp) {
			t.Errorf("%s is not a folder in %s", folder, c.temp)
		}
	}
	started := family(processes(t.Context(), t), c.temp)
	// Two folders' guards, the process's guard and its relay, the postmaster and
	// at least its checkpointer, background writer and WAL writer.
	if len(started) < 8 {
		t.Errorf("%d processes below %s; want at least 8: %v", len(started), c.temp, started)
	}
	c.kill(t)
	eventually(t, func() string { return left(t, started, c.temp) })
}

func TestProcessKilledDuringItsStartLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	const tries = 8 // over the 600 ms that a start takes
	caught := 0
	for try := range tries {
		c := startChild(t)
		<-time.After(time.Duration(try) * 80 * time.Millisecond)
		if names(t, c.temp) != "" {
			caught++
		}
		c.kill(t)
		eventually(t, func() string { return left(t, nil, c.temp) })
	}
	if caught == 0 { // how many they are is the machine's pace
		t.Errorf("none of %d processes had made anything when it was killed", tries)
	}
}

// A server that is only about to start has no handler of the signal yet, and ignores
// it, as a shell's background process does.
func TestServerThatIgnoresTheFirstSignalsEndsAllTheSame(t *testing.T) {
	t.Parallel()
	mayHear := filepath.Join(openFolder(t), "hear")
	p, err := startProcess(t.Context(), processSpec{hold: os.Stderr, env: append(os.Environ(), deafVariable+"="+mayHear), argv: []string{os.Args[0]}})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if strings.Contains(p.log.String(), "ignoring") {
			return ""
		}
		return "not started"
	})
	if err := p.control.Close(); err != nil { // as when this process is killed
		t.Fatal(err)
	}
	if err := os.WriteFile(mayHear, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if p.ended() {
			return ""
		}
		return "still running"
	})
}
