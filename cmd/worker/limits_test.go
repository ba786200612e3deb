package main

import (
	"strings"
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/purge"
)

func TestTheLimitsForTestsAreReadStrictly(t *testing.T) {
	t.Parallel()
	got, found := parseLimits(" max-rows=100  min-rows=50 batch-size=1 express-lanes=3 long-lanes=4 statement-timeout=500ms slow-batch=1m ")
	want := limits{batchSize: 1, expressLanes: 3, longLanes: 4, minRows: 50, maxRows: 100, statementTimeout: 500 * time.Millisecond, slowBatch: time.Minute}
	if got != want || len(found) > 0 {
		t.Errorf("limits = %+v, %v; want %+v", got, found, want)
	}
	if got, found := parseLimits(""); got != (limits{}) || len(found) > 0 {
		t.Errorf("without the variable: %+v, %v; want no limits", got, found)
	}
	for text, want := range map[string]string{
		"places=3": `"places=3" is not known`, "max-rows": `"max-rows": expected a positive number`, "max-rows=0": `"max-rows=0": expected`,
		"batch-size=-1": `"batch-size=-1"`, "max-rows=x": `"max-rows=x"`, "slow-batch=5": `"slow-batch=5"`, "slow-batch=1us": `"slow-batch=1us"`,
		"--max-rows=5": "is not known", "min-rows=3 max-rows=2": "min-rows=3 is more than max-rows=2",
	} {
		if _, found := parseLimits(text); len(found) != 1 || !strings.Contains(found[0].Error(), want) {
			t.Errorf("parseLimits(%q): %v; want %s", text, found, want)
		}
	}
	env := map[string]string{"DATABASE_URL": "postgres://127.0.0.1:1/app", testLimits: "fast=1 long-lanes=15"}
	o := execute(vars(env), "run").mustFail(t, exitUsage, `worker run: LETHE_TEST_LIMITS: "fast=1" is not known`, "express-lanes=2 and long-lanes=15 leave none of --max-connections=16")
	if n := strings.Count(o.stderr, "\n"); n != 2 {
		t.Errorf("%d lines on stderr; want 2:\n%s", n, o.stderr)
	}
	execute(vars(env), "replay", "--since", "2026-01-01T00:00:00Z").mustFail(t, exitUsage, `"fast=1" is not known`)
}

func TestThePaceOfTheLimits(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]purge.Pace{
		"":                       {Min: purge.DefaultMinRows, Max: purge.DefaultMaxRows},
		"max-rows=7":             {Min: 7, Max: 7},
		"max-rows=500":           {Min: purge.DefaultMinRows, Max: 500},
		"min-rows=3 max-rows=30": {Min: 3, Max: 30},
		"slow-batch=1m":          {Min: purge.DefaultMinRows, Max: purge.DefaultMaxRows, Slow: time.Minute},
	} {
		l, _ := parseLimits(text)
		if want.Target = time.Second; l.pace(time.Second) != want {
			t.Errorf("pace of %q = %+v; want %+v", text, l.pace(time.Second), want)
		}
	}
}

// Whatever the number of connections, somebody is left to sample the database.
func TestConnectionsAreSharedOut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		connections, concurrency int
		want                     shares
	}{
		{3, 2, shares{express: 1, long: 1, isolated: 1}},
		{4, 2, shares{express: 1, long: 1, isolated: 1}},
		{5, 2, shares{express: 1, long: 2, isolated: 1}},
		{6, 2, shares{express: 2, long: 2, isolated: 1}},
		{7, 2, shares{express: 2, long: 2, isolated: 2}},
		{16, 2, shares{express: 2, long: 2, isolated: 2}},
		{16, 1, shares{express: 2, long: 1, isolated: 2}},
		{16, 64, shares{express: 2, long: 12, isolated: 1}},
		{16, 0, shares{express: 2, long: 12, isolated: 1}},
	} {
		if got, err := shareOut(c.connections, c.concurrency, limits{}); got != c.want || err != nil {
			t.Errorf("%d connections, %d large deletions: %+v, %v; want %+v", c.connections, c.concurrency, got, err, c.want)
		}
	}
	for connections := 3; connections <= 40; connections++ {
		for concurrency := range 65 {
			s, err := shareOut(connections, concurrency, limits{})
			if err != nil || min(s.express, s.long, s.isolated) < 1 || s.express+s.long >= connections {
				t.Fatalf("%d connections, %d large deletions: %+v, %v", connections, concurrency, s, err)
			}
		}
	}
	if s, err := shareOut(6, 2, limits{expressLanes: 1, longLanes: 4}); s.express != 1 || s.long != 4 || err != nil {
		t.Errorf("with limits: %+v, %v", s, err)
	}
}
