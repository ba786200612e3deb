package repo

import (
	"testing"

	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// idOf is which ledger the role of the url finds.
func idOf(t *testing.T, url string) string {
	t.Helper()
	l, err := OpenLedger(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	id, err := l.ID(t.Context())
	if err != nil {
		t.Errorf("ID: %v", err)
	}
	return id
}

func TestALedgerHasItsOwnID(t *testing.T) {
	t.Parallel()
	url, other := localtest.Database(t), localtest.Database(t)
	if id := idOf(t, url); id != "" {
		t.Errorf("before the setup the id is %q; want none", id)
	}
	first, err := Setup(t.Context(), url, SetupOptions{})
	if err != nil || first.Ledger == "" || first.Ledger != idOf(t, url) {
		t.Fatalf("Setup = %+v, %v; want the id %q", first, err, idOf(t, url))
	}
	if again, err := Setup(t.Context(), url, SetupOptions{}); err != nil || again.Ledger != first.Ledger {
		t.Errorf("Setup = %+v, %v; want the same id again", again, err)
	}
	if another, err := Setup(t.Context(), other, SetupOptions{}); err != nil || another.Ledger == first.Ledger || another.Ledger == "" {
		t.Errorf("Setup of another database = %+v, %v; want another id", another, err)
	}
}

// Whoever may use the schema may read the id, however its role was made; one that was forbidden it goes on without.
func TestAnOlderLedgerGetsItsID(t *testing.T) {
	t.Parallel()
	url := olderLedger(t)
	pool := openPool(t, url)
	worker, as := newRole(t, url)
	execSQL(t, pool, "grant usage on schema lethe to "+worker)
	if id := idOf(t, as); id != "" {
		t.Errorf("before the upgrade the id is %q; want none", id)
	}
	report, err := Setup(t.Context(), url, SetupOptions{})
	if id := idOf(t, as); err != nil || id == "" || id != report.Ledger {
		t.Errorf("after the upgrade the id is %q; want that of %+v, %v", id, report, err)
	}
	execSQL(t, pool, "revoke select on lethe.ledger_id from public")
	if id := idOf(t, as); id != "" {
		t.Errorf("the role without the right finds %q; want none", id)
	}
}
