package plan

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
)

// What the server writes of an index's condition is read back as a plan writes it.
func TestConditionsOfIndexes(t *testing.T) {
	t.Parallel()
	pool := openPool(t)
	execSQL(t, pool, `create schema partials; create table partials.t (a timestamptz, "B" boolean not null, c text, d varchar(9), n int)`)
	for sql, want := range map[string]string{
		`a is null`:                             "[{a null}]",
		`"B"`:                                   "[{B true}]",
		`not "B"`:                               "[{B false}]",
		`"B" = false`:                           "[{B false}]",
		`"B" is true`:                           "",
		`c = 'it'`:                              "[{c it}]",
		`d = 'it'`:                              "[{d it}]",
		`c = 'i''t'`:                            "",
		`n = 5`:                                 "[{n 5}]",
		`n > 5`:                                 "",
		`a is null and not "B" and d = 'it'`:    "[{a null} {B false} {d it}]",
		`a is null or "B"`:                      "",
		`a is null and (n = 5 or "B")`:          "",
		`a is not null`:                         "",
		`c = 'x) AND (a'`:                       "[{c x) AND (a}]",
		`a is null and c = 'b'::text and n = 1`: "[{a null} {c b} {n 1}]",
	} {
		r := &relation{columns: map[string]column{
			"a": {name: "a", typ: pgtype.TimestamptzOID}, "B": {name: "B", typ: pgtype.BoolOID}, "c": {name: "c", typ: pgtype.TextOID}, "d": {name: "d", typ: pgtype.VarcharOID},
			"n": {name: "n", typ: pgtype.Int4OID},
		}}
		execSQL(t, pool, `drop index if exists partials.i; create index i on partials.t (a) where `+sql)
		var condition string
		if err := pool.QueryRow(t.Context(), `select pg_get_expr(indpred, indrelid) from pg_index where indexrelid = 'partials.i'::regclass`).Scan(&condition); err != nil {
			t.Fatal(err)
		}
		got := ""
		if constants, ok := r.constants(index{condition: condition}); ok {
			got = fmt.Sprint(constants)
		}
		if got != want {
			t.Errorf("%s, which is %s: %s; want %s", sql, condition, got, want)
		}
	}
}
