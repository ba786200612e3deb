package broker

import (
	"errors"
	"testing"
	"time"
)

func TestLineage(t *testing.T) {
	t.Parallel()
	born := time.Unix(1, 0)
	for name, happen := range map[string]struct {
		then func(*lineage)
		gone bool
	}{
		"goes_on_with_the_same_consumer":            {func(l *lineage) { l.found(born); l.delivered(8) }, false},
		"ends_when_the_consumer_is_missing":         {func(l *lineage) { l.lost() }, true},
		"ends_when_the_consumer_was_created_anew":   {func(l *lineage) { l.found(born.Add(time.Second)) }, true},
		"ends_when_the_deliveries_count_from_start": {func(l *lineage) { l.delivered(1) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var l lineage
			l.found(born)
			held := l.delivered(7)
			if err := l.gone(held); err != nil {
				t.Fatalf("gone at once: %v", err)
			}
			happen.then(&l)
			if err := l.gone(held); errors.Is(err, errConsumerGone) != happen.gone {
				t.Errorf("gone: %v; want %v", err, happen.gone)
			}
			if err := l.gone(l.delivered(9)); err != nil {
				t.Errorf("what comes next is %v", err)
			}
		})
	}
}
