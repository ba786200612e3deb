package localtest

import (
	"context"
	"errors"
	"sync"
	"testing"
)

// Template is a database that tests begin with. The first one has it made, and each has a copy,
// which takes half as long as migrations do.
type Template struct {
	// Make fills an empty database. Nobody may be connected when it returns.
	Make func(ctx context.Context, address string) error

	once    sync.Once
	address string
	err     error
}

// templates are what [Main] drops; a server of the tests' own would keep them.
var templates struct {
	mu   sync.Mutex // guards drop
	drop []func(context.Context) error
}

// Database is the address of a copy, for this test alone; see the function Database.
func (m *Template) Database(tb testing.TB) string {
	tb.Helper()
	server := Postgres(tb)
	m.once.Do(func() {
		ctx := context.Background() // not the test's: the template outlives the test
		var drop func(context.Context) error
		if m.address, drop, m.err = server.CreateDatabase(ctx); m.err != nil {
			return
		}
		templates.mu.Lock()
		templates.drop = append(templates.drop, drop)
		templates.mu.Unlock()
		m.err = m.Make(ctx, m.address)
	})
	if m.err != nil {
		tb.Fatalf("make the database that tests begin with: %v", m.err)
	}
	address, drop, err := server.CopyDatabase(tb.Context(), m.address)
	return dropped(tb, address, drop, err)
}

// dropTemplates drops all that were made.
func dropTemplates() error {
	ctx, cancel := context.WithTimeout(context.Background(), dropTimeout)
	defer cancel()
	var errs []error
	for _, drop := range templates.drop {
		errs = append(errs, drop(ctx))
	}
	return errors.Join(errs...)
}
