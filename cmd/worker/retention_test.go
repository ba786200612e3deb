package main

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lethe-im/lethe/internal/telemetry"
)

// forgetful is an expirer that tells of its calls.
type forgetful struct {
	calls chan time.Duration
	err   error
}

func (f forgetful) Expire(_ context.Context, age time.Duration, _ int) (int, error) {
	f.calls <- age
	return 3, f.err
}

func TestTheLedgerIsLookedThroughAtOnceAndHourlyWhateverGoesWrong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := forgetful{calls: make(chan time.Duration), err: errors.New("no connection")}
		metrics := telemetry.New(func() float64 { return 0 })
		loop := start(t.Context(), retention{store: f, age: time.Hour, expired: metrics.LedgerExpired, log: slog.New(slog.DiscardHandler)}.run)
		began := time.Now()
		if age := <-f.calls; age != time.Hour || time.Since(began) != 0 {
			t.Errorf("the first look is for %v after %v; want 1h, at once", age, time.Since(began))
		}
		for range 3 {
			last := time.Now()
			<-f.calls
			if pause := time.Since(last); pause < 54*time.Minute || pause > 66*time.Minute {
				t.Errorf("the next look came after %v; want about an hour", pause)
			}
		}
		if err := loop.stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
