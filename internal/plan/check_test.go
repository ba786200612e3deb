package plan

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// planCheck is one plan and one schema that are held against each other.
type planCheck struct {
	sql    string                // run after socialTables; social stands for a schema of its own
	edit   func(p *Plan)         // nil for the social plan as it is
	want   []string              // parts of the error's lines, in order; none: no error
	warned []string              // parts of the warnings
	also   func(*Checked) string // what else is wrong
	allow  bool                  // --allow-unindexed
	// connections are the worker's; 16 if 0.
	connections int
	needs       int // the major version of Postgres that knows sql; 0: any
}

// run resolves the case's plan in a schema of its own.
func (c planCheck) run(t *testing.T, pool *pgxpool.Pool, schemaName string) (*Checked, error) {
	t.Helper()
	own := func(s string) string { return regexp.MustCompile(`\bsocial\b`).ReplaceAllString(s, schemaName) }
	execSQL(t, pool, own(socialTables+c.sql))
	plan, err := Parse([]byte(own(socialPlan)))
	if err != nil {
		t.Fatal(err)
	}
	if c.edit != nil {
		c.edit(&plan)
	}
	s, err := Check(t.Context(), pool, plan, Options{AllowUnindexed: c.allow, Connections: max(c.connections, 16)})
	want := make([]string, len(c.want))
	for i, w := range c.want {
		want[i] = own(w)
	}
	compareLines(t, "error", errorLines(err), want)
	if s != nil {
		compareLines(t, "warnings", s.Warnings, c.warned)
	}
	return s, err
}

func errorLines(err error) []string {
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}

func compareLines(t *testing.T, what string, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s = %q; want %d lines: %q", what, got, len(want), want)
	}
	for i := range got {
		if !strings.Contains(got[i], want[i]) {
			t.Errorf("%s = %s\nwant it to say: %s", what, got[i], want[i])
		}
	}
}

// runAll runs each case in a schema of its own on one database.
func runAll(t *testing.T, cases map[string]planCheck, one func(t *testing.T, c planCheck, pool *pgxpool.Pool, schemaName string)) {
	t.Helper()
	pool := openPool(t)
	n := 0
	for name, c := range cases {
		n++
		schemaName := fmt.Sprint("s", n)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			localtest.NeedsPostgres(t, c.needs)
			one(t, c, pool, schemaName)
		})
	}
}

func differs[T comparable](got, want T) string {
	if got == want {
		return ""
	}
	return fmt.Sprintf("got %+v; want %+v", got, want)
}

// mend is the statement that an error tells to run.
var mend = regexp.MustCompile(`run: ([^;\n]*)`)

// The catalogs of old and new servers differ; what is left out for old ones is valid on new ones.
func TestQueriesOfTheCatalog(t *testing.T) {
	t.Parallel()
	pool := openPool(t)
	found := queryOne[int](t, pool, `select current_setting('server_version_num')::int`)
	for _, version := range []int{oldestServer, 150000} {
		if version > found {
			continue // make test-matrix has newer ones
		}
		for _, q := range queries.Templates() {
			name := strings.TrimSuffix(q.Name(), ".sql")
			sql := (&catalog{server: server{version: version}}).query(name)
			if strings.ContainsFunc(sql, func(r rune) bool { return r >= 0x80 }) {
				t.Errorf("%s has characters that not every database can hold", name)
			}
			if err := pool.AcquireFunc(t.Context(), func(c *pgxpool.Conn) error {
				_, err := c.Conn().Prepare(t.Context(), fmt.Sprint(name, version), sql)
				return err
			}); err != nil {
				t.Errorf("%s of version %d: %v", name, version, err)
			}
		}
	}
}
