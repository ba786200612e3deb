package repo

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/plan"
)

func TestEveryStatementUsesIndexes(t *testing.T) {
	t.Parallel()
	t.Run("of_the_bundled_schema", func(t *testing.T) { t.Parallel(); everyStatementUsesIndexes(t, newRepo(t)) })
	t.Run("of_a_foreign_schema", func(t *testing.T) { t.Parallel(); everyStatementUsesIndexes(t, newSocial(t)) })
	t.Run("of_parents", func(t *testing.T) {
		t.Parallel()
		everyStatementUsesIndexes(t, newBodies(t, "references b.bodies", 3, 1))
	})
	t.Run("of_conversations_with_children", func(t *testing.T) { t.Parallel(); everyStatementUsesIndexes(t, newThreads(t, threadChildren, 3)) })
	t.Run("of_partitioned_tables", func(t *testing.T) {
		t.Parallel()
		url := newDatabase(t)
		execSQL(t, openPool(t, url), partitionedTables)
		everyStatementUsesIndexes(t, openRepo(t, Config{URL: url, Plan: plan.Bundled()}))
	})
	t.Run("of_a_plan_that_looks_up", func(t *testing.T) { t.Parallel(); everyStatementUsesIndexes(t, newArchive(t)) })
	t.Run("of_a_plan_that_looks_up_the_conversation", func(t *testing.T) { t.Parallel(); everyStatementUsesIndexes(t, newMembers(t, "", 60)) })
	for form := range logForms {
		t.Run("of_a_shared_log_by_"+form, func(t *testing.T) {
			t.Parallel()
			r := newLog(t, form, "false")
			fillLog(t, r, 1, 0, "alice")
			everyStatementUsesIndexes(t, r)
		})
	}
	t.Run("of_pointers", func(t *testing.T) {
		t.Parallel()
		r := newPointers(t, "id")
		execSQL(t, r.pool, `insert into bodies (topic, at) select 1, now() from generate_series(1, 50); insert into copies (owner, body) select 1, id from bodies`)
		everyStatementUsesIndexes(t, r)
	})
	for position := range positionForms {
		t.Run("of_a_plan_by_"+position, func(t *testing.T) {
			t.Parallel()
			url := newDatabase(t)
			everyStatementUsesIndexes(t, newFormModel(t, url, position, 9).r)
		})
	}
}

// Statements go to databases of every encoding, with their comments.
func TestStatementsAreASCII(t *testing.T) {
	t.Parallel()
	for _, files := range []fs.FS{sqlFiles, migrationFiles} {
		err := fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			text, err := fs.ReadFile(files, path)
			if !ascii(string(text)) {
				t.Errorf("%s has characters that not every database can hold", path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	for _, sql := range []string{settingsBefore17, settingsSince17, directSession, sampleSchema} {
		if !ascii(sql) {
			t.Errorf("%s\nhas characters that not every database can hold", sql)
		}
	}
}

// everyStatementUsesIndexes fails where a table of the plan or of the ledger is
// scanned as a whole, also when statistics say that it is empty: the plan would
// stay when it isn't any more.
func everyStatementUsesIndexes(t *testing.T, r *Repo) {
	t.Helper()
	execSQL(t, r.pool, "vacuum analyze")
	err := r.begin(false).read(t.Context(), func(ctx context.Context, q plan.Querier) error {
		conn := q.(*pgx.Conn)
		for _, s := range r.sql.all() {
			if _, err := conn.Prepare(ctx, s.name, s.sql); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			explain := fmt.Sprintf("explain execute %s (%s)", pgx.Identifier{s.name}.Sanitize(), strings.TrimSuffix(strings.Repeat("null,", len(s.params)), ","))
			rows, err := conn.Query(ctx, strings.ReplaceAll(explain, " ()", ""), pgx.QueryExecModeExec)
			if err != nil {
				return err
			}
			lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				return err
			}
			if wrong := astray(lines); wrong != "" {
				t.Errorf("%s: %s\n%s", s.name, wrong, strings.Join(lines, "\n"))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// astray returns the line of a plan that doesn't go straight to the rows by a
// whole key: it reads a table from end to end, sorts what an index has in order,
// or looks at rows that it then joins to nothing.
func astray(plan []string) string {
	for i, l := range plan {
		batch := strings.Contains(l, ".ord") || strings.Contains(l, "digest") // a batch's own
		if strings.Contains(l, "Seq Scan on") || strings.Contains(l, "Join Filter") && !batch {
			return l
		}
		if i > 0 && strings.Contains(plan[i-1], "->  Sort") && strings.Contains(l, "Sort Key: m.") && !strings.Contains(plan[max(i-2, 0)], "->  Unique") {
			return l
		}
	}
	return ""
}
