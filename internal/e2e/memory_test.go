package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lethe-im/lethe/conversation"
)

// mostMemory is what a worker may have resident at its peak.
const mostMemory = 64 << 20

// A history of 1,000 messages goes, then half of a long one alone, and half of it beside
// as many small commands as the express lane can take.
func TestPromise7_MemoryDoesNotGrowWithTheHistory(t *testing.T) {
	t.Parallel()
	messages, small := sized(400_000, 20_000_000), sized(2000, 40_000)
	const each, again = 20, 3
	r := newRig(t)
	c := chat{"demo", "alice", "g"}
	r.huge(t, c, messages)
	cmd := c.ask()
	want := map[deletionKey]int{{cmd.CommandID, "g"}: messages}
	var cmds []conversation.Command
	for _, c := range r.crowd(t, "demo", "u", small, each) {
		cmd := c.ask()
		cmds = append(cmds, cmd)
		want[deletionKey{cmd.CommandID, "g"}] = each
	}

	w := r.start(t, "LOG_LEVEL=info")
	short := chat{"demo", "bob", "g"}
	r.huge(t, short, 1000)
	first := short.ask()
	r.send(t, first)
	r.deleted(t, first.CommandID, "g")
	want[deletionKey{first.CommandID, "g"}] = 1000
	before := w.peakMemory(t)
	r.send(t, cmd)
	var alone, peak int64
	watch := func(limit time.Duration, what string, cond func() bool) {
		t.Helper()
		eventually(t, limit, what, func() bool {
			peak = max(peak, w.peakMemory(t))
			return cond()
		})
	}
	watch(2*timeout, "half of the history is gone", func() bool {
		_, cursor, _, _ := r.ledger(t, cmd.CommandID, "g")
		return cursor >= int64(messages)/2
	})
	alone = peak
	for range again {
		r.flood(t, cmds)
	}
	watch(2*timeout, "all is told", func() bool {
		stored, _, _ := r.seen()
		return len(stored) >= len(want)
	})
	r.settled(t)
	peak = max(peak, w.peakMemory(t))
	r.told(t, want)
	r.wantEmpty(t)
	t.Logf("resident at the peak: %s after 1,000 messages, %s with the history alone, %s in the end", mib(before), mib(alone), mib(peak))
	if alone > before+16<<20 {
		t.Errorf("resident at the peak: %s after 1,000 messages, and %s with the history", mib(before), mib(alone))
	}
	if alone >= mostMemory || peak >= mostMemory {
		t.Errorf("resident at the peak: %s, and %s with small commands beside; want less than %s", mib(alone), mib(peak), mib(mostMemory))
	}
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// peakMemory returns the most bytes that the worker has had resident. Where the
// system doesn't keep that, it is what it has now: ask again and again.
func (w *worker) peakMemory(t testing.TB) int64 {
	t.Helper()
	pid := strconv.Itoa(w.cmd.Process.Pid)
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if errors.Is(err, fs.ErrNotExist) {
		status, err = exec.CommandContext(t.Context(), "ps", "-o", "rss=", "-p", pid).Output()
		status = append([]byte("VmHWM: "), status...)
	}
	if err != nil {
		t.Fatalf("memory of the worker: %v", err)
	}
	for line := range bytes.Lines(status) {
		name, rest, _ := strings.Cut(string(line), ":")
		if fields := strings.Fields(rest); name == "VmHWM" && len(fields) > 0 {
			kib, err := strconv.ParseInt(fields[0], 10, 64)
			if err != nil {
				t.Fatalf("memory of the worker: %s: %v", line, err)
			}
			return kib << 10
		}
	}
	t.Fatalf("the worker (%s) says nothing of its memory:\n%s", pid, status)
	return 0
}
