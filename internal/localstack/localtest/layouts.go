package localtest

import (
	"context"
	"embed"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// layoutFunctions are how tests use a layout's tables; see layouts/README.md.
//
//go:embed layouts/*.sql
var layoutFunctions embed.FS

// Layout is one of the plans of examples/plans, with its schema and the ids of commands on what that holds.
type Layout struct {
	Name    string
	App     string
	Users   []string      // three, each with each of the conversations
	IDs     [][]string    // three conversations of each user
	Unknown string        // an id of no conversation
	Nobody  string        // an id of no user
	Grain   time.Duration // of the messages' times
	Row     LayoutRow
	Shared  bool // users have pointers to shared messages
	Bounded bool // every command needs through_seq
	OneWay  bool // history can't be kept without the conversation's row

	// Loose are tables whose rows writers change, and what of a row is compared where they run beside deletions.
	Loose map[string]string
}

// LayoutRow is what becomes of a conversation's row.
type LayoutRow int

// The fates of a conversation's row.
const (
	NoRow LayoutRow = iota // there is no such table
	RowGoes
	RowStays // `keep`
)

// ids are those that a format makes of numbers.
func ids(format string, n ...int) []string {
	all := make([]string, len(n))
	for i := range n {
		all[i] = fmt.Sprintf(format, n[i])
	}
	return all
}

// all gives three users conversations of the same ids.
func all(ids []string) [][]string { return [][]string{ids, ids, ids} }

// Layouts are those of examples/plans in which users have copies of messages, or pointers to them.
var Layouts = []Layout{
	{
		Name: "ejabberd", App: "example.com", Users: []string{"alice", "bob", "carol"}, IDs: all([]string{"alice@example.com", "bob@example.com", "carol@example.com"}),
		Nobody: "nobody", Unknown: "nobody@example.com", Grain: time.Microsecond,
	},
	{
		Name: "mongooseim", App: "xmpp", Users: []string{"alice@example.com", "bob@example.com", "alice@example.org"},
		IDs: all([]string{"alice@example.com", "bob@example.com", "carol@example.com"}), Nobody: "nobody@example.com", Unknown: "nobody@example.com",
		Grain: time.Microsecond, Row: RowGoes, Loose: map[string]string{"inbox": "(luser, lserver, remote_bare_jid)"},
	},
	{
		Name: "prosody", App: "example.com", Users: []string{"alice", "bob", "carol"}, IDs: all([]string{"alice@example.com", "bob@example.com", "carol@example.com"}),
		Nobody: "nobody", Unknown: "nobody@example.com", Grain: time.Second,
	},
	{
		Name: "prisma", App: "demo", Users: ids("00000000-0000-4000-8000-%012d", 1, 2, 3), IDs: all(ids("00000000-0000-4000-8000-%012d", 11, 12, 13)),
		Nobody: "00000000-0000-4000-8000-000000000099", Unknown: "00000000-0000-4000-8000-000000000099",
		Grain: time.Millisecond, Row: RowGoes, Loose: map[string]string{`"Member"`: `("userId", "conversationId")`},
	},
	{
		Name: "rails", App: "demo", Users: []string{"1", "2", "3"}, IDs: all(ids("00000000-0000-0000-0000-%012d", 1, 2, 3)),
		Nobody: "99", Unknown: "00000000-0000-0000-0000-000000000099", Grain: time.Microsecond, Row: RowGoes,
		Loose: map[string]string{"mailboxes": "(user_id, room_id)"},
	},
	{
		Name: "django", App: "demo", Users: []string{"alice", "bob", "carol"}, IDs: all([]string{"1", "2", "3"}), Nobody: "nobody", Unknown: "99",
		Grain: time.Microsecond, Row: RowGoes, Loose: map[string]string{"chat_membership": "(user_id, room_id)"},
	},
	{
		Name: "recipients", App: "demo", Users: ids("00000000-0000-0000-0000-%012d", 1, 2, 3), IDs: all(ids("00000000-0000-0000-0000-%012d", 11, 12, 13)),
		Nobody: "00000000-0000-0000-0000-000000000099", Unknown: "00000000-0000-0000-0000-000000000099", Grain: time.Microsecond, Row: RowStays, Shared: true,
		Loose: map[string]string{"thread_members": "(user_id, thread_id)"},
	},
	{
		Name: "zulip", App: "demo", Users: []string{"1", "2", "3"}, IDs: all([]string{"1", "2", "3"}), Nobody: "99", Unknown: "99", Grain: time.Microsecond, Shared: true,
	},
	{
		Name: "laravel", App: "demo", Users: []string{"1", "2", "3"}, IDs: all([]string{"1", "2", "3"}), Nobody: "99", Unknown: "99",
		Grain: time.Microsecond, Row: RowGoes, Bounded: true, OneWay: true, Loose: map[string]string{"participants": "(user_id, conversation_id)"},
	},
}

// log is a layout of a shared log. The first conversation is the first two users', the second that of the first and the last, and the
// third is everybody's. Each has twelve messages.
func log(name, app string, users, ids []string) Layout {
	return Layout{Name: name, App: app, Users: users, IDs: all(ids), Grain: time.Millisecond}
}

// bounded is a layout in which every command needs through_seq.
func bounded(l Layout) Layout {
	l.Bounded = true
	return l
}

// Logs are those of examples/plans in which members share one row of each message.
var Logs = []Layout{
	log("shared", "demo", []string{"1", "2", "3"}, []string{"1", "2", "3"}),
	log("shared-uuid", "demo", ids("00000000-0000-0000-0000-%012d", 1, 2, 3), ids("00000000-0000-0000-0000-%012d", 11, 12, 13)),
	log("tinode", "demo", []string{"1", "2", "3"}, []string{"p2pone", "p2ptwo", "grpall"}),
	log("mattermost", "demo", []string{"alice", "bob", "carol"}, []string{"one", "two", "all"}),
	log("discourse-chat", "demo", []string{"1", "2", "3"}, []string{"1", "2", "3"}),
	bounded(log("nextcloud-talk", "demo", []string{"alice", "bob", "carol"}, []string{"1", "2", "3"})),
	log("chatwoot", "1", nil, []string{"1", "2", "3"}),
}

// LayoutTables are a layout's tables in a database, with a copy of them in the schema mirror. The copy receives what
// is inserted, and what is deleted or updated stays in it as it was.
type LayoutTables struct {
	Layout
	Pool   *pgxpool.Pool
	tables []string // quoted where they must be
}

// folder of the plans, from the folder of a package two levels down.
const folder = "../../examples/plans/"

// PlanFile is the layout's plan.
func (l Layout) PlanFile() string { return folder + l.Name + ".yaml" }

// Plan is the text of the layout's plan.
func (l Layout) Plan(tb testing.TB) string {
	tb.Helper()
	return read(tb, l.PlanFile())
}

// Schema is the SQL of the layout's tables and of what they hold.
func (l Layout) Schema(tb testing.TB) string {
	tb.Helper()
	return read(tb, folder+l.Name+".sql")
}

// indexAdvice is a statement in a plan's comment.
var indexAdvice = regexp.MustCompile(`create index concurrently ([^;]+);`)

// Create makes the tables from the layout's schema, or from a changed one, and follows the plan's advice for indexes.
func (l Layout) Create(tb testing.TB, pool *pgxpool.Pool, schema string) *LayoutTables {
	tb.Helper()
	tables := &LayoutTables{Layout: l, Pool: pool}
	tables.exec(tb, schema)
	for _, statement := range indexAdvice.FindAllStringSubmatch(l.Plan(tb), -1) {
		tables.exec(tb, "create index "+strings.ReplaceAll(statement[1], "\n# ", ""))
	}
	return l.Adopt(tb, pool)
}

// Adopt is Create for tables that are there.
func (l Layout) Adopt(tb testing.TB, pool *pgxpool.Pool) *LayoutTables {
	tb.Helper()
	functions, err := layoutFunctions.ReadFile("layouts/" + l.Name + ".sql")
	if err != nil {
		tb.Fatal(err)
	}
	tables := &LayoutTables{Layout: l, Pool: pool}
	tables.exec(tb, string(functions))
	tables.copy(tb)
	return tables
}

// copy makes the schema mirror.
func (l *LayoutTables) copy(tb testing.TB) {
	tb.Helper()
	l.tables = query[string](tb, l.Pool, `select quote_ident(relname) from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' order by 1`)
	sql := `create schema mirror;
		create function layout.copy() returns trigger language plpgsql as $$ begin
			execute format('insert into mirror.%I select * from fresh', tg_table_name); return null; end $$;`
	for _, table := range l.tables {
		sql += fmt.Sprintf(`create table mirror.%[1]s (like public.%[1]s); insert into mirror.%[1]s select * from public.%[1]s;
			create trigger copy after insert on public.%[1]s referencing new table as fresh for each statement execute function layout.copy();`, table)
	}
	l.exec(tb, sql)
}

// CopyAgain makes the copy what the tables are now.
func (l *LayoutTables) CopyAgain(tb testing.TB) {
	tb.Helper()
	sql := ""
	for _, table := range l.tables {
		sql += fmt.Sprintf("delete from mirror.%[1]s; insert into mirror.%[1]s select * from public.%[1]s;", table)
	}
	l.exec(tb, sql)
}

// Say sends n messages, the first at a time, in one transaction with the conversation's row.
func (l *LayoutTables) Say(tb testing.TB, user, id string, n int, first time.Time, every time.Duration) {
	tb.Helper()
	l.exec(tb, `select layout.say($1, $2, $3, $4, $5, $6, true)`, l.App, user, id, n, first, every)
}

// Seqs are the positions of a user's messages in a schema, public or mirror, in order.
func (l *LayoutTables) Seqs(tb testing.TB, schema, user, id string) (seqs []int64) {
	tb.Helper()
	l.in(tb, schema, func(tx pgx.Tx) {
		seqs = query[int64](tb, tx, `select layout.seqs($1, $2, $3)`, l.App, user, id)
	})
	return seqs
}

// ByHand does in the copy what a deletion should have done: forget, leave, or both.
func (l *LayoutTables) ByHand(tb testing.TB, user, id string, through int64, functions ...string) {
	tb.Helper()
	l.in(tb, "mirror", func(tx pgx.Tx) {
		for _, f := range functions {
			if _, err := tx.Exec(tb.Context(), `select layout.`+f+`($1, $2, $3, $4)`, l.App, user, id, through); err != nil {
				tb.Fatal(err)
			}
		}
	})
}

// Compare reports where the tables differ from the copy, row by row; loosely where writers have changed rows besides.
func (l *LayoutTables) Compare(tb testing.TB, loosely bool) {
	tb.Helper()
	for _, table := range l.tables {
		row := table + "::text"
		sql := `select 'is left: ' || x.row from (select %[1]s as row from public.%[2]s as %[2]s except all select %[1]s from mirror.%[2]s as %[2]s) x
			union all select 'is missing: ' || x.row from (select %[1]s as row from mirror.%[2]s as %[2]s except all select %[1]s from public.%[2]s as %[2]s) x limit 4`
		if by := l.Loose[table]; loosely && by != "" {
			row, sql = by+"::text", strings.ReplaceAll(sql, "except all", "except")
		}
		if differ := query[string](tb, l.Pool, fmt.Sprintf(sql, row, table)); len(differ) > 0 {
			tb.Errorf("%s:\n%s", table, strings.Join(differ, "\n"))
		}
	}
}

// in runs do in a transaction that finds the tables of a schema.
func (l *LayoutTables) in(tb testing.TB, schema string, do func(pgx.Tx)) {
	tb.Helper()
	err := pgx.BeginFunc(tb.Context(), l.Pool, func(tx pgx.Tx) error {
		// The copies have no index, so that a nested loop over a large history would take minutes.
		_, err := tx.Exec(tb.Context(), `set local enable_nestloop = off; set local search_path = `+schema)
		if err == nil {
			do(tx)
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
}

func (l *LayoutTables) exec(tb testing.TB, sql string, args ...any) {
	tb.Helper()
	if _, err := l.Pool.Exec(tb.Context(), sql, args...); err != nil {
		tb.Fatalf("%.200s: %v", sql, err)
	}
}

// query returns the only column of the rows that sql finds.
func query[T any](tb testing.TB, on interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}, sql string, args ...any,
) []T {
	tb.Helper()
	rows, err := on.Query(tb.Context(), sql, args...)
	if err != nil {
		tb.Fatalf("%.200s: %v", sql, err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		tb.Fatalf("%.200s: %v", sql, err)
	}
	return all
}

func read(tb testing.TB, path string) string {
	tb.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}
