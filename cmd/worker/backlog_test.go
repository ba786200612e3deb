package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lethe-im/lethe/internal/broker"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/telemetry"
)

// answers is a backlogSource that answers what it is given.
type answers chan error

func (a answers) Backlog(context.Context) (broker.Backlog, error) {
	return broker.Backlog{Lag: broker.Lag{Waiting: 7}, Streams: []bus.StreamState{{Name: "S", Messages: 3}}}, <-a
}

// backlogSeries is how many series of the backlog there are.
func backlogSeries(t *testing.T, m *telemetry.Metrics) (series int) {
	t.Helper()
	all, err := m.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if strings.HasPrefix(f.GetName(), "lethe_backlog_") || strings.HasPrefix(f.GetName(), "lethe_stream_") {
			series += len(f.GetMetric())
		}
	}
	return series
}

func TestTheBacklogIsShownWhileItIsKnown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source, log := make(answers), newLines()
		metrics := telemetry.New(func() float64 { return 0 })
		loop := start(t.Context(), backlogWatch{source, metrics.Backlog, backlogEvery, slog.New(slog.NewTextHandler(log, nil))}.run)
		for i, step := range []struct {
			err  error
			want int
		}{{nil, 6}, {errors.New("no answer"), 0}, {errors.New("no answer"), 0}, {nil, 6}} {
			source <- step.err
			synctest.Wait()
			if got := backlogSeries(t, metrics); got != step.want {
				t.Errorf("look %d, which ended with %v: %d series; want %d", i, step.err, got, step.want)
			}
		}
		if err := loop.stop(t.Context()); err != nil {
			t.Error(err)
		}
		for text, want := range map[string]int{"isn't known": 1, "known again": 1} {
			if got := strings.Count(log.String(), text); got != want {
				t.Errorf("the log says %d times %q; want %d:\n%s", got, text, want, log)
			}
		}
	})
}

func TestTheAgeOfTheOldestCommandIsNeverNegative(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for oldest, want := range map[time.Time]time.Duration{{}: 0, now.Add(-time.Minute): time.Minute, now.Add(time.Minute): 0} {
		if got := workOf(broker.Backlog{Oldest: oldest}, now).Oldest; got != want {
			t.Errorf("stored at %v, at %v: age %v; want %v", oldest, now, got, want)
		}
	}
}
