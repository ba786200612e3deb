package purge

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// monitored is a monitor, and a clock that each observation moves on by a second.
type monitored struct {
	Monitor
	now time.Time
}

func (m *monitored) sampled(f Figures) Report {
	m.now = m.now.Add(time.Second)
	return m.Sampled(m.now, f, true)
}

func TestMonitor(t *testing.T) {
	t.Parallel()
	lagging := Figures{ReplicaLag: time.Hour, Standby: "s1"}
	paused := Figures{Pauses: []Pause{{Lane: AllLanes}}}
	failed := func(fault Fault, cause string) func(*monitored) Report {
		return func(m *monitored) Report {
			m.now = m.now.Add(time.Second)
			return m.Failed(m.now, &FaultError{Fault: fault, Cause: cause, Err: errors.New("failed")})
		}
	}
	sampled := func(f Figures) func(*monitored) Report { return func(m *monitored) Report { return m.sampled(f) } }
	slow := func(m *monitored) Report { return m.Batch(m.now, true, "took 1s") }
	quick := func(m *monitored) Report { return m.Batch(m.now, false, "") }
	for _, c := range []struct {
		name  string
		steps []func(*monitored) Report
		want  string // what the last step began and ended, all that throttles then, and what of that stops the lane
	}{
		{"nothing found", []func(*monitored) Report{sampled(Figures{})}, "+[] -[] all[] stop[]"},
		{"a throttle begins", []func(*monitored) Report{sampled(lagging)}, "+[replica_lag] -[] all[replica_lag] stop[replica_lag]"},
		{"and goes on", []func(*monitored) Report{sampled(lagging), sampled(lagging)}, "+[] -[] all[replica_lag] stop[replica_lag]"},
		{"and ends", []func(*monitored) Report{sampled(lagging), sampled(Figures{}), sampled(Figures{})}, "+[] -[replica_lag] all[] stop[]"},
		{"a failed sample shows no harm", []func(*monitored) Report{sampled(lagging), failed(Infrastructure, CauseConnection)}, "+[] -[replica_lag] all[] stop[]"},
		{"but the last known pause stays", []func(*monitored) Report{sampled(paused), failed(Infrastructure, CauseConnection)}, "+[] -[] all[paused] stop[paused]"},
		{"two that don't reach the database", []func(*monitored) Report{failed(Infrastructure, CauseConnection), failed(Infrastructure, CauseConnection)}, "+[] -[] all[] stop[] unavailable"},
		{"two that fail otherwise", []func(*monitored) Report{failed(Contention, "resources"), failed(Contention, "resources")}, "+[] -[] all[] stop[]"},
		{"pauses that the role may not read", []func(*monitored) Report{failed(Infrastructure, CausePermission)}, "+[] -[] all[] stop[] unavailable"},
		{"a slow batch stops nothing", []func(*monitored) Report{slow}, "+[slow_batch] -[] all[slow_batch] stop[]"},
		{"and is remembered", []func(*monitored) Report{slow, sampled(Figures{}), quick}, "+[] -[] all[slow_batch] stop[]"},
		{"for a while", []func(*monitored) Report{slow, sampled(Figures{}), sampled(Figures{}), sampled(Figures{}), sampled(Figures{})}, "+[] -[slow_batch] all[] stop[]"},
		{"held permits stop nothing", []func(*monitored) Report{sampled(Figures{PermitHolders: []string{"pid 1"}})}, "+[permits_held] -[] all[permits_held] stop[]"},
		{"free permits", []func(*monitored) Report{sampled(Figures{PermitHolders: []string{"pid 1"}}), sampled(Figures{})}, "+[] -[permits_held] all[] stop[]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := &monitored{Monitor: Monitor{Limits: Limits{ReplicaLag: time.Minute}}, now: time.Unix(1_000_000, 0)}
			var r Report
			for _, step := range c.steps {
				r = step(m)
			}
			var all []ThrottleReason
			for _, throttle := range m.Throttles() {
				all = append(all, throttle.Reason)
			}
			stop, _ := m.Stop()
			got := fmt.Sprintf("+%v -%v all%v stop[%s]", r.Began, r.Ended, all, stop.Reason)
			if r.Unavailable {
				got += " unavailable"
			}
			if got != c.want {
				t.Errorf("got %s; want %s", got, c.want)
			}
		})
	}
}

func TestMonitorWorksOutTheLagFromPositions(t *testing.T) {
	t.Parallel()
	m := &monitored{Monitor: Monitor{Limits: Limits{ReplicaLag: 5 * time.Second}}, now: time.Unix(1_000_000, 0)}
	var throttle Throttle
	for i := range 10 { // the server moves on, the standby doesn't
		m.sampled(Figures{Position: int64(100 + i), Standbys: []Standby{{"s1", 100}}})
		throttle, _ = m.Stop()
	}
	if throttle.Reason != ReplicaLag || !strings.Contains(throttle.Detail, `"s1" is 8s behind`) {
		t.Errorf("throttle = %+v; want s1 8 s behind", throttle)
	}
}

func TestMonitorPausesAllLanesForAPauseOfAllAlone(t *testing.T) {
	t.Parallel()
	for lane, want := range map[Lane]bool{AllLanes: true, LongLane: false} {
		m := &monitored{now: time.Unix(1_000_000, 0)}
		m.sampled(Figures{Pauses: []Pause{{Lane: lane}}})
		if _, all := m.PausedAll(); all != want {
			t.Errorf("with a pause of %s all lanes are paused: %t; want %t", lane, all, want)
		}
	}
}

func TestMonitorBackoff(t *testing.T) {
	t.Parallel()
	m := &monitored{Monitor: Monitor{ForegroundBackoff: 4}, now: time.Unix(1_000_000, 0)}
	want := func(what string, min, max float64) {
		t.Helper()
		if got := m.Backoff(m.now); got < min || got > max {
			t.Errorf("%s: backoff %v; want %v to %v", what, got, min, max)
		}
	}
	want("nothing is known", 0, 0)
	for range 2 {
		m.SmallFinished(m.now)
		want("one batch of small deletions was just finished", 0, 0)
		m.now = m.now.Add(smallMemory)
	}
	m.SmallFinished(m.now)
	m.now = m.now.Add(aloneTime)
	m.SmallFinished(m.now)
	want("small deletions follow each other", 4, 4)
	m.now = m.now.Add(smallMemory)
	want("that is a while ago", 0, 0)
	for i := range 12 {
		m.sampled(Figures{Transactions: int64(50 * i)})
	}
	want("half a crowd", 1.9, 2.2)
}

func TestMonitorSamplesLessOftenWhileSamplesFail(t *testing.T) {
	t.Parallel()
	m := &monitored{now: time.Unix(1_000_000, 0)}
	if !m.Due(m.now) {
		t.Error("the first sample isn't due")
	}
	if m.sampled(Figures{}); m.Due(m.now) || !m.Due(m.now.Add(time.Second)) {
		t.Error("want a sample to be due a second after the last one")
	}
	if least, most := m.Next(0), m.Next(1); least != 800*time.Millisecond || most != time.Second {
		t.Errorf("the next sample is due in %v to %v; want 0.8 to 1 s", least, most)
	}
	for range 60 {
		m.Failed(m.now, errors.New("failed"))
	}
	if wait := m.Next(1); wait != maxBlind {
		t.Errorf("after 60 failures the next sample is due in %v; want %v", wait, maxBlind)
	}
}

func TestMonitorNotesWhatIsUnreadOnce(t *testing.T) {
	t.Parallel()
	m := &monitored{now: time.Unix(1_000_000, 0)}
	unread := Figures{Unread: map[ThrottleReason]string{ReplicaLag: "no grant"}}
	if n := len(m.sampled(unread).Notes) + len(m.sampled(unread).Notes); n != 1 {
		t.Errorf("%d notes; want 1", n)
	}
}
