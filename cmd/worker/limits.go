package main

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lethe-im/lethe/internal/handler"
	"github.com/lethe-im/lethe/internal/purge"
)

// testLimits names the variable with which tests and benchmarks change limits that no
// operator has to: words such as max-rows=100, separated by spaces. CONTRIBUTING.md has
// the list.
const testLimits = "LETHE_TEST_LIMITS"

// limits are what [testLimits] can change. Zero means what the handler and the repo
// have as their default, or what follows from --max-connections.
type limits struct {
	batchSize, expressLanes, longLanes int
	minRows, maxRows                   int
	statementTimeout, slowBatch        time.Duration
	erasePoll, sweepEvery              time.Duration
}

// parseLimits reads the variable's value. The error names every word that is wrong.
func parseLimits(text string) (limits, problems) {
	var l limits
	counts := map[string]*int{
		"batch-size": &l.batchSize, "express-lanes": &l.expressLanes, "long-lanes": &l.longLanes, "min-rows": &l.minRows, "max-rows": &l.maxRows,
	}
	durations := map[string]*time.Duration{
		"statement-timeout": &l.statementTimeout, "slow-batch": &l.slowBatch, "erase-poll": &l.erasePoll, "sweep-every": &l.sweepEvery,
	}
	var found problems
	for _, word := range strings.Fields(text) {
		name, value, _ := strings.Cut(word, "=")
		var err error
		switch {
		case counts[name] != nil:
			if *counts[name], err = strconv.Atoi(value); err == nil && *counts[name] < 1 {
				err = strconv.ErrRange
			}
		case durations[name] != nil:
			if *durations[name], err = time.ParseDuration(value); err == nil && *durations[name] < time.Millisecond {
				err = strconv.ErrRange
			}
		default:
			names := slices.Sorted(maps.Keys(counts))
			found = append(found, fmt.Errorf("%s: %q is not known: expected %s=N or %s=DURATION", testLimits, word,
				strings.Join(names, "=N, "), strings.Join(slices.Sorted(maps.Keys(durations)), "=DURATION, ")))
			continue
		}
		if err != nil {
			found = append(found, fmt.Errorf("%s: %q: expected a positive number, or a duration of 1ms or more", testLimits, word))
		}
	}
	if l.minRows > 0 && l.maxRows > 0 && l.minRows > l.maxRows {
		found = append(found, fmt.Errorf("%s: min-rows=%d is more than max-rows=%d", testLimits, l.minRows, l.maxRows))
	}
	return l, found
}

// pace is what the batches keep to.
func (l limits) pace(target time.Duration) purge.Pace {
	p := purge.Pace{Target: target, Slow: l.slowBatch, Min: purge.DefaultMinRows, Max: purge.DefaultMaxRows}
	if l.maxRows > 0 {
		p.Max = l.maxRows
	}
	if p.Min = min(p.Min, p.Max); l.minRows > 0 {
		p.Min = l.minRows
	}
	return p
}

// warn logs that the worker doesn't run as it would for an operator.
func (l limits) warn(log *slog.Logger) {
	if l != (limits{}) {
		log.Warn("limits for tests are in effect", "variable", testLimits, "limits", fmt.Sprintf("%+v", l))
	}
}

// shares are how many of a worker's connections who may use at a time. What is left,
// one or more, is for small deletions that run alone, sampling the database, checking the
// tables and retention, each of which takes milliseconds.
type shares struct {
	express  int // small deletions, which have these for themselves
	long     int // large deletions
	isolated int // deletions that failed before, each alone
}

// shareOut divides connections, 3 or more. concurrency is how many large deletions
// shall run at a time, 0 for as many as there are connections.
func shareOut(connections, concurrency int, test limits) (shares, error) {
	s := shares{express: handler.DefaultExpressLanes}
	if connections < 6 {
		s.express = 1
	}
	if test.expressLanes > 0 {
		s.express = test.expressLanes
	}
	free := connections - s.express
	s.long = max(1, free-2) // two more where there are some, so that a deletion that hangs holds up nothing else
	if concurrency > 0 {
		s.long = min(s.long, concurrency)
	}
	if test.longLanes > 0 {
		s.long = test.longLanes
	}
	left := free - s.long
	if left < 1 {
		return s, fmt.Errorf("%s: express-lanes=%d and long-lanes=%d leave none of --max-connections=%d: expected fewer", testLimits, s.express, s.long, connections)
	}
	s.isolated = max(1, min(2, left-1))
	return s, nil
}
