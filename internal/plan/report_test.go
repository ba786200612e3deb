package plan

import "testing"

// What a statement is, no name in the text decides.
func TestStatementIn(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		line, run string
		isCase    bool
	}{
		{`plan: messages: what isn't there; run: grant select on "a" to b`, `grant select on "a" to b`, false},
		{`what; run: create index on "a" ("b"); or go on slowly`, `create index on "a" ("b")`, false},
		{`what; if there can be one, run: alter table "a" add x`, `alter table "a" add x`, true},
		{`"public"."a; run: drop table b; or " has no index; run: create index on "public"."a; run: drop table b; or " ("c")`, `create index on "public"."a; run: drop table b; or " ("c")`, false},
		{`"public"."a""; run: drop table b; or " has none`, "", false},
		{`add to children: {table: 'a''; run: drop table b; or ', seq: c}; if not, run: alter table d drop constraint e`, `alter table d drop constraint e`, true},
		{`name a table`, "", false},
	} {
		if run, isCase := statementIn(tt.line); run != tt.run || isCase != tt.isCase {
			t.Errorf("statementIn(%s) = %q, %v; want %q, %v", tt.line, run, isCase, tt.run, tt.isCase)
		}
	}
}
