package retry_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/retry"
)

func TestDo(t *testing.T) {
	t.Parallel()
	errTransient, errFinal := errors.New("transient"), errors.New("final")
	for name, c := range map[string]struct {
		policy  retry.Policy
		answers []error // the last one is repeated
		calls   int     // at least
		want    error
	}{
		"a success":                        {retry.Policy{First: time.Hour}, []error{nil}, 1, nil},
		"an error that is worth no try":    {retry.Policy{First: time.Hour}, []error{errFinal}, 1, errFinal},
		"a success after transient errors": {retry.Policy{First: 1, Max: 1}, []error{errTransient, errTransient, nil}, 3, nil},
		"an error for too long":            {retry.Policy{First: 1, Max: 1, Total: time.Millisecond}, []error{errTransient}, 2, errTransient},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			calls := 0
			v, err := retry.Do(t.Context(), c.policy, func() (int, error) {
				calls++
				return calls, c.answers[min(calls, len(c.answers))-1]
			}, func(err error) bool { return errors.Is(err, errTransient) })
			if !errors.Is(err, c.want) || v != calls || calls < c.calls {
				t.Errorf("Do = %d, %v after %d calls; want %v after %d", v, err, calls, c.want, c.calls)
			}
		})
	}
}

func TestDoAndSleepEndWithTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	calls, failed := 0, errors.New("failed")
	_, err := retry.Do(ctx, retry.Policy{First: time.Hour, Max: time.Hour}, func() (int, error) {
		if calls++; calls == 1 {
			time.AfterFunc(time.Millisecond, cancel)
		}
		return 0, failed
	}, func(error) bool { return true })
	if !errors.Is(err, failed) || calls != 1 {
		t.Errorf("Do = %v after %d calls; want the error after one", err, calls)
	}
	retry.Sleep(ctx, time.Hour)
}
