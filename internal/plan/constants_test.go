package plan

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestConstants(t *testing.T) {
	t.Parallel()
	pool := openPool(t)
	execSQL(t, pool, socialTables+`create type social.mood as enum ('glad', 'sad'); create domain social.short as varchar(3);
		alter table social."Post" add t text, add v varchar(3), add d social.short, add c char(3), add s smallint, add i int, add b bigint, add n numeric,
			add y boolean, add u uuid, add e social.mood, add j jsonb, add z timestamptz, add nn text not null`)
	number, text, yes := func(s string) Value { return Value{Number, s} }, func(s string) Value { return Value{Text, s} }, Value{Bool, "true"}
	cases := []struct {
		column string
		value  Value
		want   string // "" for none
	}{
		{"t", text("1"), ""},
		{"t", text(""), ""},
		{"t", number("1"), `"t" of "social"."Post" is text, and the plan has 1: expected a text in quotes, '1'`},
		{"t", yes, "is text, and the plan has true: expected a text in quotes, 'true'"},
		{"t", Value{}, ""},
		{"v", text("日本語"), ""},
		{"v", text("four"), `the plan has the text "four": expected at most 3 characters`},
		{"d", text("four"), "expected at most 3 characters"},
		{"d", text("abc"), ""},
		{"c", text("abc"), ""},
		{"s", number("-32768"), ""},
		{"s", number("32768"), "is smallint, and the plan has 32768: expected a whole number without quotes, in the type's range"},
		{"i", text("1"), `is integer, and the plan has the text "1": expected a whole number without quotes`},
		{"b", number("9223372036854775808"), "in the type's range"},
		{"n", number("10000000000000000000000"), ""},
		{"n", text("1"), "is numeric"},
		{"y", yes, ""},
		{"y", text("yes"), `is boolean, and the plan has the text "yes": expected true or false, without quotes`},
		{"y", number("1"), "expected true or false"},
		{"u", text(thread), ""},
		{"u", text("x"), "is uuid"},
		{"e", text("sad"), ""},
		{"e", text("Sad"), `the plan has the text "Sad": expected one of glad, sad`},
		{"e", Value{}, ""},
		{"j", text("{}"), "is jsonb, and the plan has the text"},
		{"z", text("2020-01-01"), "others can't be compared with a constant"},
		{"nn", Value{}, "is text, and the plan has null: expected another value: the column is never null"},
		{"_", text("x"), "has no column"},
	}
	for _, c := range cases {
		p, err := Parse([]byte(socialPlan))
		if err != nil {
			t.Fatal(err)
		}
		p.Messages.Where = []Pair{{c.column, c.value}}
		s, err := Check(t.Context(), pool, p, Options{AllowUnindexed: true})
		switch {
		case c.want != "":
			if err == nil || !strings.Contains(err.Error(), c.want) || len(errorLines(err)) != 1 {
				t.Errorf("%s: %s: %v; want it to say: %s", c.column, c.value, err, c.want)
			}
		case err != nil:
			t.Errorf("%s: %s: %v; want it to fit", c.column, c.value, err)
		default: // then the server takes it
			if _, err := pool.Exec(t.Context(), "select from social.\"Post\" x where "+s.Messages.MatchArgs("x"), pgx.NamedArgs{"user": "7", "conversation": thread}); err != nil {
				t.Errorf("%s: %s: %v", c.column, c.value, err)
			}
		}
	}
}
