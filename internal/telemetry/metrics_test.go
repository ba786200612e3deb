package telemetry

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
)

// series are those whose name begins with prefix, as name{label=value} number.
func series(t *testing.T, m *Metrics, prefix string) []string {
	t.Helper()
	families, err := m.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), prefix) {
			continue
		}
		for _, s := range f.GetMetric() {
			all = append(all, fmt.Sprintf("%s{%s} %v", strings.TrimPrefix(f.GetName(), prefix), labelsOf(s), s.GetGauge().GetValue()+s.GetCounter().GetValue()))
		}
	}
	return all
}

func labelsOf(m *dto.Metric) string {
	labels := map[string]string{}
	for _, l := range m.GetLabel() {
		labels[l.GetName()] = l.GetValue()
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, name+"="+labels[name])
	}
	return strings.Join(parts, ",")
}

func wantSeries(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("series:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestTheBacklogIsAbsentWhileItIsNotKnown(t *testing.T) {
	t.Parallel()
	m := New(conversation.Names{}, func() float64 { return 0 })
	wantSeries(t, series(t, m, "lethe_backlog_"))
	m.Backlog.Set(bus.Backlog{Waiting: 5, InFlight: 2, Oldest: 3 * time.Second, Streams: []bus.StreamState{{Name: "A", Messages: 7, Bytes: 700, MaxBytes: 1000}, {Name: "B", Messages: 1, Bytes: 10, MaxBytes: -1}}})
	wantSeries(t, series(t, m, "lethe_backlog_"),
		"commands{state=in_flight} 2", "commands{state=stuck} 0", "commands{state=waiting} 5", "oldest_seconds{} 3")
	wantSeries(t, series(t, m, "lethe_stream_"),
		"bytes{stream=A} 700", "bytes{stream=B} 10", "max_bytes{stream=A} 1000", "messages{stream=A} 7", "messages{stream=B} 1")
	m.Backlog.Set(bus.Backlog{Streams: []bus.StreamState{{Name: "A", Messages: 7, Bytes: 700}}})
	wantSeries(t, series(t, m, "lethe_stream_max"))
	m.Backlog.Forget()
	wantSeries(t, append(series(t, m, "lethe_backlog_"), series(t, m, "lethe_stream_")...))
}

func TestThePoolIsReadAtEachScrape(t *testing.T) {
	t.Parallel()
	m := New(conversation.Names{}, func() float64 { return 0 })
	used := 0
	m.WatchPool(func() Pool {
		used++
		return Pool{Used: used, Idle: 3, Max: 16, Waits: 4, Waited: 1500 * time.Millisecond}
	})
	for n := range 2 {
		wantSeries(t, series(t, m, "lethe_pool_"), fmt.Sprintf("connections{state=idle} %d", 3), "connections{state=opening} 0",
			fmt.Sprintf("connections{state=used} %d", n+1), "max_connections{} 16", "wait_seconds_total{} 1.5", "waits_total{} 4")
	}
}

func TestWhatHasNotHappenedYetIsZeroAndNotAbsent(t *testing.T) {
	t.Parallel()
	m := New(conversation.Names{}, func() float64 { return 0 })
	got := series(t, m, "lethe_dead_letters_total")
	if len(got) != len(reasons) || slices.ContainsFunc(got, func(s string) bool { return !strings.HasSuffix(s, " 0") }) {
		t.Errorf("dead letters before the first: %v; want zero for each of %v", got, reasons)
	}
}
