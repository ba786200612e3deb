package plan

import "testing"

// BenchmarkCheck measures the check of a plan of a database with 2,000 tables beside it, with partitions, indexes and
// foreign keys: it should take less than two seconds.
func BenchmarkCheck(b *testing.B) {
	pool := openPool(b)
	execSQL(b, pool, socialTables)
	execSQL(b, pool, `do $$ begin execute format('alter database %I set jit = off', current_database()); end $$`) // as the worker's sessions
	pool.Reset()
	for _, sql := range []string{
		`create table social.users (id bigint primary key)`,
		`do $$ begin for i in 1..1000 loop
			execute format('create table social.things_%s (id bigint primary key, user_id bigint references social.users, message_id text, item_type text, item_id bigint, created_at timestamptz not null default now(), a int, b int, c text, d text)', i);
			execute format('create index on social.things_%s (user_id)', i); end loop; end $$`,
		`create table social.events (id bigint not null, at int not null, message_id int) partition by range (at)`,
		`create index on social.events (message_id, at)`,
		`do $$ begin for i in 1..1000 loop execute format('create table social.events_%s partition of social.events for values from (%s) to (%s)', i, i, i + 1); end loop; end $$`,
		`analyze`,
	} {
		execSQL(b, pool, sql)
	}
	p, err := Parse([]byte(socialPlan))
	if err != nil {
		b.Fatal(err)
	}
	for name, opts := range map[string]Options{"at_start": {Neighbors: true}, "while_it_runs": {}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := Check(b.Context(), pool, p, opts); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
