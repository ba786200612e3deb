package repo

import (
	"strings"
	"testing"

	"github.com/lethe-im/lethe/internal/localstack/localtest"
	"github.com/lethe-im/lethe/internal/purge"
)

func openLedger(tb testing.TB, url string) *Ledger {
	tb.Helper()
	l, err := OpenLedger(tb.Context(), url)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(l.Close)
	return l
}

func TestSettings(t *testing.T) {
	t.Parallel()
	l := openLedger(t, newDatabase(t))
	steps := []struct {
		name string
		set  *Settings
		want Settings
	}{
		{"are off and not explicit at first", nil, Settings{App: "demo"}},
		{"can be switched on", &Settings{App: "demo", MultiClientSync: true}, Settings{App: "demo", MultiClientSync: true, Explicit: true}},
		{"stay when they are set again", &Settings{App: "demo", MultiClientSync: true}, Settings{App: "demo", MultiClientSync: true, Explicit: true}},
		{"of another app don't matter", &Settings{App: "🐟' --"}, Settings{App: "demo", MultiClientSync: true, Explicit: true}},
		{"can be switched off", &Settings{App: "demo"}, Settings{App: "demo", Explicit: true}},
	}
	for _, s := range steps { // one after the other: each starts from the one before it
		if s.set != nil {
			if err := l.SetSettings(t.Context(), *s.set); err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
		}
		if got, err := l.Settings(t.Context(), "demo"); err != nil || got != s.want {
			t.Errorf("%s: Settings = %+v, %v; want %+v, nil", s.name, got, err, s.want)
		}
	}
}

func TestLedgerSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	bare := localtest.Database(t)
	url := newDatabase(t)
	_, as := newRole(t, url)
	readOnly := newDatabase(t)
	execSQL(t, openPool(t, readOnly), `do $$ begin execute format('alter database %I set default_transaction_read_only = on', current_database()); end $$`)
	for _, c := range []struct {
		name, url, cause, text string
		call                   func(*Ledger) error
	}{
		{"settings without a schema", bare, "configuration", "run: worker setup", readSettings(t)},
		{"status without a schema", bare, "configuration", "run: worker setup", readStatus(t)},
		{"settings without a grant", as, "permission", "grant usage on schema lethe", readSettings(t)},
		{"status without a grant", as, "permission", "grant usage on schema lethe", readStatus(t)},
		{"settings without a server", "postgres://nobody@127.0.0.1:1/none", "connection", "127.0.0.1", readSettings(t)},
		{"a change of a read-only database", readOnly, "read_only", "read-only", func(l *Ledger) error { return l.SetSettings(t.Context(), Settings{App: "demo"}) }},
	} {
		err := c.call(openLedger(t, c.url))
		if err == nil {
			t.Errorf("%s: no error", c.name)
			continue
		}
		if fault, cause := purge.FaultOf(err); fault != purge.Infrastructure || cause != c.cause {
			t.Errorf("%s: FaultOf(%v) = %v, %s; want infrastructure, %s", c.name, err, fault, cause, c.cause)
		}
		if text := err.Error(); !strings.Contains(text, c.text) || strings.ContainsAny(text, "\n\t") {
			t.Errorf("%s: %q; want one line with %q", c.name, text, c.text)
		}
	}
}

func readSettings(tb testing.TB) func(*Ledger) error {
	tb.Helper()
	return func(l *Ledger) error { _, err := l.Settings(tb.Context(), "demo"); return err }
}

func readStatus(tb testing.TB) func(*Ledger) error {
	tb.Helper()
	return func(l *Ledger) error { _, err := l.Status(tb.Context(), "", "1"); return err }
}

func TestOpenLedgerRefusesAnAddressThatIsNone(t *testing.T) {
	t.Parallel()
	if l, err := OpenLedger(t.Context(), "postgres://user:secret@host:port/"); err == nil {
		l.Close()
		t.Error("OpenLedger took a port that is no number")
	} else if strings.Contains(err.Error(), "secret") {
		t.Errorf("%q tells the password", err)
	}
}
