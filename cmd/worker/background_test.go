package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/telemetry"
)

// answers is a backlogSource that answers what it is given.
type answers chan error

func (a answers) Backlog(context.Context) (bus.Backlog, error) {
	return bus.Backlog{Waiting: 7, Streams: []bus.StreamState{{Name: "S", Messages: 3}}}, <-a
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
		metrics := telemetry.New(conversation.Names{}, func() float64 { return 0 })
		loop := start(t.Context(), backlogWatch{source, metrics.Backlog, backlogEvery, slog.New(slog.NewTextHandler(log, nil))}.run)
		for i, step := range []struct {
			err  error
			want int
		}{{nil, 6}, {errors.New("no answer"), 0}, {errors.New("no answer"), 0}, {nil, 6}} {
			source <- step.err
			synctest.Wait()
			if got := backlogSeries(t, metrics); got != step.want {
				t.Errorf("sample %d, which ended with %v: %d series; want %d", i, step.err, got, step.want)
			}
		}
		if err := loop.stop(t.Context()); err != nil {
			t.Error(err)
		}
		for text, want := range map[string]int{"backlog unknown": 1, "known again": 1} {
			if got := strings.Count(log.String(), text); got != want {
				t.Errorf("the log says %d times %q; want %d:\n%s", got, text, want, log)
			}
		}
	})
}

// forgetful is an expirer that reports its calls.
type forgetful struct {
	calls chan time.Duration
	err   error
}

func (f forgetful) Expire(_ context.Context, age time.Duration, _ int) (int, error) {
	f.calls <- age
	return 3, f.err
}

func TestTheLedgerExpiresAtOnceAndHourlyWhateverGoesWrong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := forgetful{calls: make(chan time.Duration), err: errors.New("no connection")}
		metrics := telemetry.New(conversation.Names{}, func() float64 { return 0 })
		loop := start(t.Context(), retention{store: f, age: time.Hour, expired: metrics.LedgerExpired, log: slog.New(slog.DiscardHandler)}.run)
		began := time.Now()
		if age := <-f.calls; age != time.Hour || time.Since(began) != 0 {
			t.Errorf("the first call is for %v after %v; want 1h, at once", age, time.Since(began))
		}
		for range 3 {
			last := time.Now()
			<-f.calls
			if pause := time.Since(last); pause < 54*time.Minute || pause > 66*time.Minute {
				t.Errorf("the next call came after %v; want about an hour", pause)
			}
		}
		if err := loop.stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
