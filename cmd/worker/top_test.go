package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/repo"
)

// overviewOf calls worker top with --once --json.
func (s stack) overviewOf(t *testing.T, args ...string) (outcome, overview) {
	t.Helper()
	o := s.command(append([]string{"top", "--once", "--json", "--interval", "500ms"}, args...)...)
	var found overview
	if err := json.Unmarshal([]byte(o.stdout), &found); err != nil {
		t.Fatalf("worker top printed %q, %q: %v", o.stdout, o.stderr, err)
	}
	return o, found
}

// awaitOverview repeats it until it is right.
func (s stack) awaitOverview(t *testing.T, right func(overview) bool) overview {
	t.Helper()
	end := time.Now().Add(timeout)
	for {
		o, found := s.overviewOf(t)
		o.mustSucceed(t)
		if right(found) {
			return found
		}
		if time.Now().After(end) {
			t.Fatalf("worker top printed %s in the end", o.stdout)
		}
	}
}

func TestTopShowsWhatWaitsAndForWhat(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	s.addConversation(t, "group_1", 400)
	s.addConversation(t, "group_2", 300_000)
	if _, o := s.overviewOf(t); *o.Waiting+*o.InFlight != 0 || *o.Pulling || len(o.Deletions) != 0 || !strings.Contains(fmt.Sprint(o.Notices), "no worker pulls") {
		t.Errorf("of an idle stack without a worker: %+v", o)
	}
	for i := range 3 {
		s.send("--conversation", fmt.Sprint("c2c_", i)).mustSucceed(t)
	}
	s.command("send", "--app", "other", "--user", "bob", "--conversation", "c").mustSucceed(t)
	if _, o := s.overviewOf(t); *o.Waiting != 4 || *o.InFlight != 0 || o.AppCount != 2 || fmt.Sprint(o.Apps) != "[{demo 3} {other 1}]" || *o.OldestSeconds <= 0 {
		t.Errorf("of commands that wait: %+v", o)
	}

	tx, err := s.connect(t).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `select from chat.messages where conversation_id = 'group_1' and seq = 200 for update`); err != nil {
		t.Fatal(err)
	}
	s.startWorking(t, "--express-rows", "5", "LETHE_TEST_LIMITS=slow-batch=1m max-rows=50 min-rows=50 long-lanes=2", "--foreground-backoff", "0")
	s.send("--conversation", "group_1", "--command-id", "locked").mustSucceed(t)
	s.send("--conversation", "group_2", "--command-id", "runs").mustSucceed(t)
	of := func(o overview, command string) (d topDeletion) {
		for _, d = range o.Deletions {
			if d.CommandID == command {
				return d
			}
		}
		return topDeletion{}
	}
	o := s.awaitOverview(t, func(o overview) bool {
		return of(o, "locked").WaitingFor == "lock" && of(o, "runs").MessagesPerSecond != nil && *of(o, "runs").MessagesPerSecond > 0
	})
	if d := of(o, "locked"); d.AppID != "demo" || d.UserID != "alice" || d.ConversationID != "group_1" || d.Lane != "long" || d.Percent == nil || *d.Percent > 50 || d.WaitingDetail == "" {
		t.Errorf("the deletion that waits for a lock: %+v", d)
	}
	if d := of(o, "runs"); d.State != "running" || d.Lane != "long" || d.WaitingFor != "" || d.SecondsLeft == nil || *d.SecondsLeft <= 0 || *d.LeaseSeconds <= 0 || time.Since(d.StoredAt) > timeout {
		t.Errorf("the deletion that runs: %+v", d)
	}
	if !*o.Pulling || *o.Unfinished < 2 || *o.InFlight < 2 {
		t.Errorf("beside them: %+v", o)
	}
	s.command("pause", "--lane", "long").mustSucceed(t)
	o = s.awaitOverview(t, func(o overview) bool { return of(o, "runs").WaitingFor == "paused" })
	if len(o.Paused) != 1 || o.Paused[0].Lane != "long" || time.Since(o.Paused[0].Since) > timeout {
		t.Errorf("paused = %+v; want the long lane", o.Paused)
	}
	text := s.command("top", "--interval", "500ms").mustSucceed(t).stdout // without a terminal once
	for _, want := range []string{"lane long is paused since ", "unfinished deletions: ", "\nAPP_ID  USER_ID  CONVERSATION_ID  COMMAND_ID ", "demo    alice    group_2          runs        waiting  long  "} {
		if !strings.Contains(text, want) {
			t.Errorf("top printed %s\nwant %q in it", text, want)
		}
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestTopPrintsAnObjectEachInterval(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	ctx, cancel := context.WithCancel(t.Context())
	out, code := newLines(), make(chan int, 1)
	go func() { code <- run(ctx, []string{"top", "--json", "--interval", "500ms"}, s.env(), out, io.Discard) }()
	out.await(t, `"waiting":0`)
	s.send("--conversation", "c").mustSucceed(t)
	out.await(t, `"waiting":1`)
	cancel()
	if c := <-code; c != exitOK {
		t.Errorf("interrupted: %d; want 0", c)
	}
}

// What one server can't say, the other one's part doesn't depend on.
func TestTopShowsTheRestWhereAServerIsUnavailable(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	s.send("--conversation", "c").mustSucceed(t)
	o, found := s.overviewOf(t, "--database-url", "postgres://127.0.0.1:1/none")
	o.mustFail(t, exitError, "Postgres: ")
	if *found.Waiting != 1 || found.Unfinished != nil || len(found.Problems) != 1 {
		t.Errorf("without Postgres: %s", o.stdout)
	}
	o, found = s.overviewOf(t, "--nats-url", "nats://127.0.0.1:1")
	o.mustFail(t, exitError, "NATS: ")
	if found.Waiting != nil || *found.Unfinished != 0 || len(found.Problems) != 1 {
		t.Errorf("without NATS: %s", o.stdout)
	}
	text := s.command("top", "--interval", "500ms", "--nats-url", "nats://127.0.0.1:1").mustFail(t, exitError, "NATS: ").stdout
	if !strings.Contains(text, "\nNATS: ") || !strings.Contains(text, "unfinished deletions: 0 running, 0 pending") {
		t.Errorf("top printed %s\nwant what Postgres says, and the problem", text)
	}
}

func TestTopOfAShardAsksItsDatabaseForTheName(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.command("setup", "--sample-schema", "--shard", "eu-1").mustSucceed(t)
	s.send("--conversation", "c", "--shard", "eu-1").mustSucceed(t)
	if o, found := s.overviewOf(t); found.Shard != "eu-1" || *found.Waiting != 1 || fmt.Sprint(found.Apps) != "[{demo 1}]" {
		t.Errorf("top printed %s; want the shard's command", o.stdout)
	}
	s.command("top", "--once", "--shard", "us").mustFail(t, exitError, "eu-1")
}

func TestTopEstimatesByWhatHasGone(t *testing.T) {
	t.Parallel()
	const none = -1
	for _, c := range []struct {
		name                           string
		deleted, cursor                int64 // of the sample before
		nowDeleted, nowCursor, through int64
		first                          bool
		percent                        int
		perSecond, left                float64
	}{
		{"two samples", 1000, 1000, 3000, 3000, 10_000, false, 30, 1000, 7},
		{"the first sample", 0, 0, 3000, 3000, 10_000, true, 30, none, none},
		{"seqs that begin late and have gaps", 1000, 901_000, 2000, 902_000, 911_000, false, 18, 500, 18},
		{"times", 1000, 1_700_000_000_000_000, 2000, 1_700_000_001_000_000, 1_700_000_008_000_000, false, 22, 500, 14},
		{"times, of which nothing is known yet", 0, 0, 2000, 1_700_000_001_000_000, 1_700_000_008_000_000, true, none, none, none},
		{"no progress", 1000, 1000, 1000, 1000, 10_000, false, 10, 0, none},
		{"nothing gone", 0, 0, 0, 0, 10_000, false, 0, 0, none},
		{"an erasure that began anew", 5000, 5000, 100, 5000, 10_000, false, 50, none, none},
		{"at the end", 9000, 9000, 10_000, 10_000, 10_000, false, 100, 500, 0},
		{"no boundary yet", 0, 0, 0, 0, 0, false, none, 0, none},
	} {
		at := time.Now()
		d := topDeletion{deletion: deletion{MessagesDeleted: c.nowDeleted, CursorSeq: c.nowCursor}}
		if c.through != 0 {
			d.ThroughSeq = &c.through
		}
		d.estimate(topMark{at: at, deleted: c.deleted, cursor: c.cursor}, !c.first, at.Add(2*time.Second))
		percent, perSecond, left := none, float64(none), float64(none)
		if d.Percent != nil {
			percent = *d.Percent
		}
		if d.MessagesPerSecond != nil {
			perSecond = *d.MessagesPerSecond
		}
		if d.SecondsLeft != nil {
			left = *d.SecondsLeft
		}
		if percent != c.percent || perSecond != c.perSecond || left != c.left {
			t.Errorf("%s: %d %%, %v/s, %vs left; want %d %%, %v/s, %vs", c.name, percent, perSecond, left, c.percent, c.perSecond, c.left)
		}
	}
}

// busyOverview has n deletions with ids of the longest kind.
func busyOverview(n int) *overview {
	o := &overview{
		SampledAt: time.Now(), Commands: new(uint64(100)), Waiting: new(uint64(90)), InFlight: new(uint64(10)), OldestSeconds: new(4000.), DeadLetters: new(uint64(2)),
		Unfinished: new(n + 7), Running: new(3), AppCount: 30, Notices: []string{"stream CONVERSATION_EVENTS is 91 % full"}, Problems: []string{"Postgres: \x1b[2J" + strings.Repeat("x", 300)},
	}
	hostile := []string{"alice", "\x1b[31mred\x07", strings.Repeat("界", 40), "\u202eevil", strings.Repeat("e\u0301", 60), "a\r\nb"}
	for i := range n {
		id := hostile[i%len(hostile)]
		o.Deletions = append(o.Deletions, topDeletion{deletion: deletion{
			AppID: id, UserID: id, ConversationID: id, CommandID: id, State: "running", MessagesDeleted: 123_456_789, WaitingFor: "lock", WaitingDetail: strings.Repeat("who has it ", 9),
		}, Lane: "long", Percent: new(i % 101), MessagesPerSecond: new(61_234.5), SecondsLeft: new(400_000.), LeaseSeconds: new(-1.)})
	}
	for i := range 20 {
		o.Apps = append(o.Apps, topApp{hostile[i%len(hostile)], uint64(100 - i)})
	}
	return o
}

func TestAFrameFitsTheTerminalWhateverTheIds(t *testing.T) {
	t.Parallel()
	for _, size := range [][2]int{{80, 24}, {120, 40}, {200, 50}, {40, 10}, {10, 3}, {1, 1}, {300, 200}} {
		for _, n := range []int{0, 1, 5, 100} {
			lines := busyOverview(n).frame(size[0], size[1])
			if len(lines) > size[1] {
				t.Errorf("%v with %d deletions: %d lines", size, n, len(lines))
			}
			for _, line := range lines {
				if displayWidth(line) > size[0] || !plain(line) {
					t.Errorf("%v with %d deletions: the line %q is %d wide", size, n, line, displayWidth(line))
				}
			}
		}
	}
	at80 := busyOverview(100).frame(80, 24)
	if len(at80) != 24 || !strings.HasPrefix(at80[21], "and ") || !strings.HasPrefix(at80[23], "commands by app: ") {
		t.Errorf("80x24 has %d lines:\n%s\nwant it full, with how many more there are, and the apps", len(at80), strings.Join(at80, "\n"))
	}
	for _, want := range []string{"USER_ID", "CONVERSATION_ID", "STATE", "DONE", "RATE", "LEFT", "WAITING_FOR"} {
		if !strings.Contains(at80[6], want) {
			t.Errorf("the heading at 80 columns is %q; want %s", at80[6], want)
		}
	}
	if all := busyOverview(6).frame(0, 0); !strings.Contains(strings.Join(all, "\n"), strings.Repeat("界", 40)) {
		t.Errorf("without a terminal:\n%s\nwant whole ids", strings.Join(all, "\n"))
	}
}

func TestAnIdIsCutByWhatATerminalShows(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		id          string
		width       int
		end, middle string
	}{
		{"alice", 5, "alice", "alice"},
		{"abcdefghij", 6, "abcde…", "abc…ij"},
		{"界界界界界", 6, "界界…", "界…界"},
		{"界界界界界", 7, "界界界…", "界界…界"},
		{"e\u0301e\u0301e\u0301e\u0301", 3, "e\u0301e\u0301…", "e\u0301…e\u0301"},
		{"ab", 1, "…", "…"},
	} {
		if end, middle := cut(c.id, c.width), cutMiddle(c.id, c.width); end != c.end || middle != c.middle {
			t.Errorf("%q at %d: %q and %q; want %q and %q", c.id, c.width, end, middle, c.end, c.middle)
		}
	}
}

func TestShortTimesHaveTwoUnits(t *testing.T) {
	t.Parallel()
	for seconds, want := range map[float64]string{0: "0s", 59.9: "59s", 60: "1m00s", 3599: "59m59s", 3600: "1h00m", 100_000: "27h46m", 200_000: "2d07h", -3: "0s", 1e300: "104249991374d07h"} {
		if got := shortTime(seconds); got != want {
			t.Errorf("shortTime(%v) = %q; want %q", seconds, got, want)
		}
	}
}

// A ledger with more unfinished deletions than top counts.
func TestTopSaysThatThereMayBeMore(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	if _, err := s.connect(t).Exec(t.Context(), `
		insert into lethe.deletions (app_id, command_id, conversation_id, user_id, state, stored_at, history_kept)
		select 'demo', 'cmd' || i, 'c', 'alice', 'pending', now(), false from generate_series(1, @n) i`, pgx.NamedArgs{"n": repo.MaxUnfinished + 5}); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if code := run(t.Context(), []string{"top", "--once", "--interval", "500ms"}, s.env(), &out, io.Discard); code != exitOK {
		t.Fatalf("exit status %d", code)
	}
	for _, want := range []string{"unfinished deletions: 0+ running, 10000+ pending\n", "\nand 9900+ more\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("top printed %s\nwant %q", out.String(), want)
		}
	}
}
