package e2e

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/conversation"
)

// layout is one of the plans of examples/plans, and how a test uses its tables: by the
// functions of testdata/layouts.
type layout struct {
	name    string
	app     string
	users   []string // the ids of a command: each has each of the conversations
	ids     []string
	unknown string        // an id of no conversation
	nobody  string        // an id of no user
	grain   time.Duration // of the messages' times; two of a large history have one time each
	row     rowKind

	// loose are tables whose rows change otherwise than by deletions, and what of their
	// rows is compared where writers and deletions run at the same time.
	loose map[string]string
}

// rowKind tells what becomes of a conversation's row.
type rowKind int

const (
	noRow rowKind = iota // there is no such table
	rowGoes
	rowStays // `keep`
)

// uuids are ids that end with these digits.
func uuids(format string, n ...int) []string {
	ids := make([]string, len(n))
	for i := range n {
		ids[i] = fmt.Sprintf(format, n[i])
	}
	return ids
}

var layouts = []layout{
	{
		name: "ejabberd", app: "example.com", users: []string{"alice", "bob", "carol"}, nobody: "nobody", unknown: "nobody@example.com",
		ids: []string{"alice@example.com", "bob@example.com", "carol@example.com"}, grain: time.Microsecond,
	},
	{
		name: "mongooseim", app: "xmpp", users: []string{"alice@example.com", "bob@example.com", "alice@example.org"}, nobody: "nobody@example.com", unknown: "nobody@example.com",
		ids: []string{"alice@example.com", "bob@example.com", "carol@example.com"}, grain: time.Microsecond, row: rowGoes,
		loose: map[string]string{"inbox": "(luser, lserver, remote_bare_jid)"},
	},
	{
		name: "prosody", app: "example.com", users: []string{"alice", "bob", "carol"}, nobody: "nobody", unknown: "nobody@example.com",
		ids: []string{"alice@example.com", "bob@example.com", "carol@example.com"}, grain: time.Second,
	},
	{
		name: "prisma", app: "demo", users: uuids("00000000-0000-4000-8000-%012d", 1, 2, 3), nobody: "00000000-0000-4000-8000-000000000099", unknown: "00000000-0000-4000-8000-000000000099",
		ids: uuids("00000000-0000-4000-8000-%012d", 11, 12, 13), grain: time.Millisecond, row: rowGoes,
		loose: map[string]string{`"Member"`: `("userId", "conversationId")`},
	},
}

// layoutRig is a rig on the tables of a layout, with a copy of them.
type layoutRig struct {
	*rig
	layout
	tables []string // of the schema, quoted where they must be
}

// indexAdvice is a statement in a plan's comment.
var indexAdvice = regexp.MustCompile(`create index concurrently ([^;]+);`)

func (l layout) planFile() string   { return "../../examples/plans/" + l.name + ".yaml" }
func (l layout) schemaFile() string { return "../../examples/plans/" + l.name + ".sql" }

// newLayoutRig makes the tables, follows the plan's advice for indexes, and sets the worker up.
func newLayoutRig(t *testing.T, l layout) *layoutRig {
	t.Helper()
	r := newRig(t, withoutSetup(), withEnv("LETHE_PLAN="+l.planFile()), withSchema(readFile(t, l.schemaFile())))
	for _, statement := range indexAdvice.FindAllStringSubmatch(readFile(t, l.planFile()), -1) {
		r.exec(t, "create index "+strings.ReplaceAll(statement[1], "\n# ", ""))
	}
	r.exec(t, readFile(t, "testdata/layouts/"+l.name+".sql"))
	r.must(t, "setup")
	r.record(t)
	lr := &layoutRig{rig: r, layout: l}
	lr.copyTables(t)
	return lr
}

// copyTables makes the schema mirror: a copy of each table, which receives what is inserted, and what is deleted keeps.
func (r *layoutRig) copyTables(t testing.TB) {
	t.Helper()
	rows, err := r.db.Query(t.Context(), `select quote_ident(relname) from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' order by 1`)
	must(t, err)
	r.tables, err = pgx.CollectRows(rows, pgx.RowTo[string])
	must(t, err)
	sql := `create schema mirror;
		create function layout.copy() returns trigger language plpgsql as $$ begin
			execute format('insert into mirror.%I select * from fresh', tg_table_name); return null; end $$;`
	for _, table := range r.tables {
		sql += fmt.Sprintf(`create table mirror.%[1]s (like public.%[1]s); insert into mirror.%[1]s select * from public.%[1]s;
			create trigger copy after insert on public.%[1]s referencing new table as fresh for each statement execute function layout.copy();`, table)
	}
	r.exec(t, sql)
}

// copyAgain makes the copy what the tables are now.
func (r *layoutRig) copyAgain(t testing.TB) {
	t.Helper()
	sql := ""
	for _, table := range r.tables {
		sql += fmt.Sprintf("delete from mirror.%[1]s; insert into mirror.%[1]s select * from public.%[1]s;", table)
	}
	r.exec(t, sql)
}

// say sends n messages, the first at a time, in one transaction with the conversation's row.
func (r *layoutRig) say(t testing.TB, user, id string, n int, first time.Time, every time.Duration) {
	t.Helper()
	r.exec(t, `select layout.say($1, $2, $3, $4, $5, $6, true)`, r.app, user, id, n, first, every)
}

// seqs are the positions of a user's messages in a schema, public or mirror.
func (r *layoutRig) seqs(t testing.TB, schema, user, id string) (seqs []int64) {
	t.Helper()
	r.in(t, schema, func(tx pgx.Tx) {
		rows, err := tx.Query(t.Context(), `select layout.seqs($1, $2, $3)`, r.app, user, id)
		must(t, err)
		seqs, err = pgx.CollectRows(rows, pgx.RowTo[int64])
		must(t, err)
	})
	return seqs
}

// last is the newest message's position, 0 without any.
func last(seqs []int64) int64 {
	if len(seqs) == 0 {
		return 0
	}
	return seqs[len(seqs)-1]
}

// reached counts the messages at or below a position.
func reached(seqs []int64, through int64) int {
	n, _ := slices.BinarySearch(seqs, through+1)
	return n
}

// byHand does in the copy what a deletion should have done.
func (r *layoutRig) byHand(t testing.TB, user, id string, through int64, functions ...string) {
	t.Helper()
	r.in(t, "mirror", func(tx pgx.Tx) {
		for _, f := range functions {
			_, err := tx.Exec(t.Context(), `select layout.`+f+`($1, $2, $3, $4)`, r.app, user, id, through)
			must(t, err)
		}
	})
}

// in runs do in a transaction that finds the tables of a schema.
func (r *layoutRig) in(t testing.TB, schema string, do func(pgx.Tx)) {
	t.Helper()
	must(t, pgx.BeginFunc(t.Context(), r.db, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `set local search_path = `+schema)
		must(t, err)
		do(tx)
		return nil
	}))
}

// compare asserts that the tables are as the copy, row by row; loosely where writers have changed rows besides.
func (r *layoutRig) compare(t testing.TB, loosely bool) {
	t.Helper()
	for _, table := range r.tables {
		row := table + "::text"
		sql := `select 'is left: ' || x.row from (select %[1]s as row from public.%[2]s as %[2]s except all select %[1]s from mirror.%[2]s as %[2]s) x
			union all select 'is missing: ' || x.row from (select %[1]s as row from mirror.%[2]s as %[2]s except all select %[1]s from public.%[2]s as %[2]s) x limit 4`
		if by := r.loose[table]; loosely && by != "" {
			row, sql = by+"::text", strings.ReplaceAll(sql, "except all", "except")
		}
		rows, err := r.db.Query(t.Context(), fmt.Sprintf(sql, row, table))
		must(t, err)
		differ, err := pgx.CollectRows(rows, pgx.RowTo[string])
		must(t, err)
		if len(differ) > 0 {
			t.Errorf("%s:\n%s", table, strings.Join(differ, "\n"))
		}
	}
}

// command is a new command of a user; through, if not 0, is the boundary.
func (r *layoutRig) ask(user, id string, through int64) conversation.Command {
	cmd := chat{r.app, user, id}.ask()
	if through > 0 {
		cmd.Conversations[0].ThroughSeq = &through
	}
	return cmd
}

// forLayouts runs a test for each layout; LETHE_E2E_LAYOUTS names some.
func forLayouts(t *testing.T, test func(t *testing.T, r *layoutRig)) {
	t.Helper()
	for _, l := range layouts {
		if only := os.Getenv("LETHE_E2E_LAYOUTS"); only != "" && !slices.Contains(strings.Fields(only), l.name) {
			continue
		}
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			test(t, newLayoutRig(t, l))
		})
	}
}
