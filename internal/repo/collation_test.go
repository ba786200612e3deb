package repo

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lethe-im/lethe/internal/localstack/localtest"
	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// newSortedDatabase is a database with the ledger and the bundled schema whose
// own collation has a version.
func newSortedDatabase(tb testing.TB) string {
	tb.Helper()
	url := localtest.Database(tb)
	name := queryOne[string](tb, openPool(tb, url), `select quote_ident(current_database())`)
	server := openPool(tb, localtest.Postgres(tb).URL())
	execSQL(tb, server, "drop database "+name+" with (force)")
	execSQL(tb, server, "create database "+name+" template template0 encoding 'UTF8' locale 'C' locale_provider icu icu_locale 'en'")
	if _, err := Setup(tb.Context(), url, SetupOptions{SampleSchema: true}); err != nil {
		tb.Fatal(err)
	}
	return url
}

// An index in the order of another version of its collation misses rows.
func TestACollationOfAnotherVersionIsRefused(t *testing.T) {
	t.Parallel()
	const (
		ofDatabase   = `update pg_database set datcollversion = '1.2' where datname = current_database();`
		ofCollation  = `update pg_collation set collversion = '1.2' where oid = 'chat.own'::regcollation;`
		ownCollation = `create collation chat.own (provider = icu, locale = 'de'); alter table chat.reactions alter user_id type text collate chat.own;`
	)
	for name, c := range map[string]struct {
		plain        bool // the database sorts by byte value
		before       string
		changed      string
		want, warned []string
	}{
		"the_databases": {false, ``, ofDatabase, []string{
			`"chat"."messages", "chat"."reactions", "chat"."attachments", "lethe"."commands", "lethe"."deletions", "lethe"."apps", "lethe"."throttles", "lethe"."enumerations", "lethe"."watermarks" were built with version 1.2 of the database's collation, and the server has version 1`,
			`run: alter database `,
		}, nil},
		"a_columns":                      {false, ownCollation, ofCollation, []string{`indexes of "chat"."reactions" were built with version 1.2 of collation "chat"."own", and`, `run: alter collation "chat"."own" refresh version`}, nil},
		"both":                           {false, ownCollation, ofDatabase + ofCollation, []string{`of the database's collation`, `alter database`, `of collation "chat"."own"`, `alter collation`}, nil},
		"of_columns_that_no_row_goes_by": {true, `create collation chat.own (provider = icu, locale = 'de'); alter table chat.messages alter sender_id type text collate chat.own; create index on chat.messages (sender_id)`, ofCollation, nil, nil},
		"of_columns_without_an_index": {true, `create collation chat.own (provider = icu, locale = 'de'); alter table chat.reactions drop constraint reactions_pkey, alter user_id type text collate chat.own;
			create index on chat.reactions (app_id, user_id text_pattern_ops, conversation_id, seq)`, ofCollation, nil, nil},
		"the_databases_without_a_record": {false, ``, `update pg_database set datcollversion = null where datname = current_database()`, nil, []string{`the server has no record of the version of the database's collation`}},
		"the_order_of_bytes":             {true, ``, `select 1`, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			make1 := newDatabase
			if !c.plain {
				localtest.NeedsPostgres(t, 15)
				make1 = newSortedDatabase
			}
			url := make1(t)
			admin := openPool(t, url)
			execSQL(t, admin, c.before)
			r := openRepo(t, Config{URL: url, Plan: plan.Bundled()}) // nothing to tell yet
			compareLines(t, "warnings", r.Warnings(), nil)
			execSQL(t, admin, c.changed)
			mendCollations(t, admin, r, c.want, c.warned)
		})
	}
}

// mendCollations wants both the check at start and a running worker's probe to
// say what is wanted, and to be content after what they say has been run.
func mendCollations(t *testing.T, admin *pgxpool.Pool, r *Repo, want, warned []string) {
	t.Helper()
	checked, err := r.check(t.Context(), false)
	compareLines(t, "error", errorLines(err), want)
	if checked != nil {
		compareLines(t, "warnings", checked.Warnings, warned)
	}
	if len(want) == 0 {
		wantHealthy(t, r)
		return
	}
	if fault, cause := purge.FaultOf(err); fault != purge.Infrastructure || cause != "collation" {
		t.Errorf("the error is %v, %s; want infrastructure, collation", fault, cause)
	}
	wantProbe(t, r, "collation", "were built with version 1.2 of ")
	for _, m := range mend.FindAllStringSubmatch(err.Error(), -1) {
		execSQL(t, admin, m[1])
	}
	wantHealthy(t, r)
	openRepo(t, r.cfg)
}
