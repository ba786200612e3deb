package repo

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lethe-im/lethe/internal/localstack/localtest"
	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// hostile are the settings that a role or a database can bring along, with the values
// that could hurt most, in groups whose members can't hide each other's effect. Under
// each group the worker does all of its work, and what it says is true. Settings that
// the server of the tests doesn't know are passed over.
var hostile = map[string]string{
	"what statements mean": `default_transaction_isolation=serializable default_transaction_deferrable=on transform_null_equals=on
		array_nulls=off standard_conforming_strings=off backslash_quote=on escape_string_warning=on quote_all_identifiers=on
		gin_fuzzy_search_limit=1 constraint_exclusion=on row_security=on xmloption=document xmlbinary=hex gin_pending_list_limit=64`,
	"what values look like": `default_transaction_isolation='repeatable read' client_encoding=LATIN1 DateStyle='SQL, DMY' IntervalStyle=sql_standard
		TimeZone='Asia/Kolkata' timezone_abbreviations='India' bytea_output=escape extra_float_digits=-15 lc_messages=C lc_monetary=C lc_numeric=C lc_time=C
		default_text_search_config=simple search_path='evil, pg_catalog'`,
	"how long a session may take": `statement_timeout=40 lock_timeout=1 idle_in_transaction_session_timeout=1 idle_session_timeout=100 transaction_timeout=1 exit_on_error=on
		client_connection_check_interval=1 tcp_keepalives_idle=1 tcp_keepalives_interval=1 tcp_keepalives_count=1 wal_sender_timeout=1 deadlock_timeout=1`,
	"which plan": `enable_async_append=off enable_bitmapscan=on enable_distinct_reordering=off enable_gathermerge=off enable_group_by_reordering=off enable_hashagg=on
		enable_hashjoin=on enable_incremental_sort=off enable_indexonlyscan=off enable_indexscan=off enable_material=off enable_memoize=off enable_mergejoin=on
		enable_nestloop=off enable_parallel_append=off enable_parallel_hash=off enable_partition_pruning=off enable_partitionwise_aggregate=on
		enable_partitionwise_join=on enable_presorted_aggregate=off enable_self_join_elimination=off enable_seqscan=on enable_sort=off enable_tidscan=off
		geqo=on geqo_threshold=2 geqo_effort=1 geqo_generations=1 geqo_pool_size=2 geqo_seed=1 geqo_selection_bias=1.5 from_collapse_limit=1 join_collapse_limit=1
		cpu_index_tuple_cost=1000 cpu_operator_cost=1000 cpu_tuple_cost=0 random_page_cost=100000 seq_page_cost=0 cursor_tuple_fraction=1
		effective_cache_size=1 effective_io_concurrency=0 maintenance_io_concurrency=0 io_combine_limit=1 plan_cache_mode=force_custom_plan
		jit=on jit_above_cost=0 jit_inline_above_cost=0 jit_optimize_above_cost=0 jit_expressions=on jit_tuple_deforming=on
		debug_parallel_query=on force_parallel_mode=on parallel_setup_cost=0 parallel_tuple_cost=0 min_parallel_index_scan_size=0 min_parallel_table_scan_size=0
		max_parallel_workers_per_gather=4 parallel_leader_participation=off recursive_worktable_factor=1000 hash_mem_multiplier=1 work_mem=64
		temp_buffers=100 synchronize_seqscans=off default_statistics_target=1 stats_fetch_consistency=snapshot`,
	"what a commit waits for": `synchronous_commit=off commit_siblings=0 commit_delay=1000 backend_flush_after=1 wal_skip_threshold=0 logical_decoding_work_mem=64
		default_table_access_method=heap default_toast_compression=pglz check_function_bodies=off temp_file_limit=0 maintenance_work_mem=1024
		max_parallel_maintenance_workers=0 max_parallel_workers=0 wal_compression=on wal_init_zero=off wal_recycle=off`,
	"what is said and counted": `application_name=hostile client_min_messages=debug5 log_min_messages=panic log_min_error_statement=panic log_statement='all' log_duration=on
		log_error_verbosity=verbose log_lock_waits=on log_lock_failures=on log_min_duration_statement=0 log_min_duration_sample=0 log_statement_sample_rate=1
		log_transaction_sample_rate=1 log_parameter_max_length=0 log_parameter_max_length_on_error=0 log_replication_commands=on log_temp_files=0
		log_executor_stats=off log_parser_stats=off log_planner_stats=off log_statement_stats=off debug_print_parse=on debug_print_plan=on debug_print_rewritten=on
		debug_pretty_print=off trace_notify=on trace_sort=on track_activities=off track_counts=off track_functions='all' track_io_timing=on
		track_wal_io_timing=on track_cost_delay_timing=on update_process_title=off compute_query_id=on backtrace_functions='exec_simple_query'
		operator_precedence_warning=on max_stack_depth=200 md5_password_warnings=off password_encryption=md5 event_triggers=off lo_compat_privileges=on`,
}

// without says why a setting is in no group.
var without = map[string]string{
	"allow_in_place_tablespaces allow_system_table_mods createrole_self_grant default_tablespace temp_tablespaces scram_iterations": "DDL alone",
	"vacuum_": "vacuum alone",
	"debug_discard_caches debug_logical_replication_streaming wal_consistency_checking icu_validation_level jit_dump_bitcode file_copy_method": "for the server's own developers, or other work",
	"dynamic_library_path extension_destdir extension_control_path local_preload_libraries session_preload_libraries":                          "code of somebody else's",
	"ignore_system_indexes jit_debugging_support jit_profiling_support log_connections log_disconnections post_auth_delay":                     "of the start of a session",
	"transaction_deferrable transaction_isolation transaction_read_only":                                                                       "each transaction begins with the default",
	"default_transaction_read_only":                                       "refused: TestWhatASessionMustNotInherit",
	"session_replication_role zero_damaged_pages ignore_checksum_failure": "refused: TestWhatASessionMustNotInherit",
	"restrict_nonsystem_relation_kind":                                    "an error that says so",
	"tcp_user_timeout":                                                    "of the network",
}

// evil would change what statements mean for whoever has its schema in front.
const evil = `create schema evil; grant usage on schema evil to public;
create function evil.never(text, text) returns boolean language sql immutable as 'select false';
create operator evil.= (leftarg = text, rightarg = text, function = evil.never);
create function evil.set_config(text, text, boolean) returns text language sql as $$ select 'nothing' $$;
create function evil.clock_timestamp() returns timestamptz language sql as $$ select 'epoch'::timestamptz $$;`

// scopes are the ways in which a default reaches a session.
var scopes = []string{"alter role %[1]s", "alter database %[2]s", "alter role %[1]s in database %[2]s"}

// inheriting is a Repo of a role with just the grants that the worker needs, and with
// the defaults. admin was connected before, and has none of them.
func inheriting(tb testing.TB, scope string, defaults []string) (r *Repo, admin *pgxpool.Pool) {
	tb.Helper()
	address := newDatabase(tb)
	admin = openPool(tb, address)
	role, as := newRole(tb, address)
	grantAll(tb, admin, as)
	execSQL(tb, admin, evil)
	for _, d := range defaults {
		execSQL(tb, admin, fmt.Sprintf(scope, role, queryOne[string](tb, admin, `select current_database()::text`))+" set "+d)
	}
	return openRepo(tb, Config{URL: as, Plan: plan.Bundled(), MaxConns: 4}), admin
}

// grantAll gives the role of the address what Open asks for.
func grantAll(tb testing.TB, admin *pgxpool.Pool, as string) {
	tb.Helper()
	r, err := Open(tb.Context(), Config{URL: as, Plan: plan.Bundled()})
	if err == nil {
		r.Close()
		return
	}
	for _, m := range mend.FindAllStringSubmatch(err.Error(), -1) {
		execSQL(tb, admin, m[1])
	}
}

// pairs cuts "name=value name='a value'" into its settings.
func pairs(text string) []string {
	quoted := false
	return strings.FieldsFunc(text, func(r rune) bool {
		if r == '\'' {
			quoted = !quoted
		}
		return !quoted && strings.ContainsRune(" \t\n", r)
	})
}

// known leaves out what the server doesn't know.
func known(tb testing.TB, settings []string) (out []string) {
	tb.Helper()
	names := settingsOf(tb)
	for _, s := range settings {
		name, value, _ := strings.Cut(s, "=")
		if !slices.Contains(names, strings.ToLower(name)) {
			continue
		}
		if value = strings.Trim(value, "'"); name != "search_path" {
			value = "'" + value + "'" // a path is a list of names
		}
		out = append(out, name+" = "+value)
	}
	return out
}

// settingsOf are all settings of the server that a role or a database can have a
// default for.
func settingsOf(tb testing.TB) []string {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), localtest.Postgres(tb).URL())
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(tb.Context()))
	rows, err := conn.Query(tb.Context(), `select lower(name) from pg_settings where context in ('user', 'superuser', 'backend', 'superuser-backend')`)
	if err != nil {
		tb.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		tb.Fatal(err)
	}
	return names
}

// Whatever a role or a database brings along, what the worker says is true: one small,
// one bulk and one large deletion under each group, by each way that a default has.
func TestWhatASessionInheritsDoesNotMatter(t *testing.T) {
	t.Parallel()
	for i, group := range slices.Sorted(maps.Keys(hostile)) {
		settings, scope := hostile[group], scopes[i%len(scopes)]
		t.Run(strings.ReplaceAll(group, " ", "_"), func(t *testing.T) {
			t.Parallel()
			r, admin := inheriting(t, scope, known(t, pairs(settings)))
			everyStatementUsesIndexes(t, r)
			workUnder(t, r, admin)
		})
	}
}

// workUnder does one of each deletion and all else that a worker does, and compares
// what it says with what is there.
func workUnder(t *testing.T, r *Repo, admin *pgxpool.Pool) {
	t.Helper()
	seen := &Repo{pool: admin}
	check := func(rec purge.Record, messages int) {
		t.Helper()
		if rec.State != purge.Done || rec.MessagesDeleted != int64(messages) || !rec.ConversationRemoved {
			t.Errorf("record = %+v; want %d messages and the conversation gone", rec, messages)
		}
		if left := rowsLeft(t, seen, rec.Conversation); left != nothing {
			t.Errorf("%s: reported deleted, and left are %s", rec.Conversation, left)
		}
	}
	fillChat(t, seen, "small", 20)
	check(carryOut(t, r, deletion("small", "small"), 1000), 20)

	var b purge.Batch
	for i := range 30 {
		conversation := fmt.Sprintf("josé %d", i)
		fillChat(t, seen, conversation, 20+i)
		b.Deletions = append(b.Deletions, deletion(fmt.Sprintf("bulk%d", i), conversation))
	}
	for i, rec := range bulk(t, r, b).Records {
		check(rec, 20+i)
	}

	fillChat(t, seen, "large", 3000)
	large := carryOut(t, r, deletion("large", "large"), 700)
	check(large, 3000)
	again := carryOut(t, r, deletion("large", "large"), 700)
	if diff := cmp.Diff(large, again); diff != "" {
		t.Errorf("the same command again, against the first time: %s", diff)
	}

	wantHealthy(t, r)
	ledger := &Ledger{source: r.source, conns: r.conns}
	if recs, err := ledger.Status(t.Context(), "", "large"); err != nil || len(recs) != 1 || recs[0].MessagesDeleted != 3000 {
		t.Errorf("status = %+v, %v; want 3,000 messages", recs, err)
	}
	f, err := r.Watch(t.Context(), purge.Limits{LockWait: time.Second}, true)
	if err != nil || f.LockWaiters != 0 {
		t.Errorf("watch = %+v, %v; want nobody waiting", f, err)
	}
	if gone, err := r.Expire(t.Context(), 0, 100); err != nil || gone != 32 {
		t.Errorf("expire = %d, %v; want all 32 commands forgotten", gone, err)
	}
}

// A new version of the server may bring settings that nobody has thought about.
func TestEverySettingIsDecided(t *testing.T) {
	t.Parallel()
	decided := map[string]bool{}
	for _, settings := range hostile {
		for _, s := range pairs(settings) {
			name, _, _ := strings.Cut(s, "=")
			decided[strings.ToLower(name)] = true
		}
	}
	for names := range without {
		for name := range strings.FieldsSeq(names) {
			decided[name] = true
		}
	}
	for _, name := range settingsOf(t) {
		prefix, _, _ := strings.Cut(name, "_")
		if !decided[name] && !decided[prefix+"_"] && !strings.Contains(name, ".") {
			t.Errorf("%s is in no group of hostile settings: decide what a default of it does to a deletion", name)
		}
	}
}

// What the worker's role can't take off itself keeps it from working, and it says so.
func TestWhatASessionMustNotInherit(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ setting, cause, want string }{
		"triggers_and_foreign_keys_off": {"session_replication_role = replica", "permission", "session_replication_role"},
		"damaged_pages_as_empty":        {"zero_damaged_pages = on", "permission", "zero_damaged_pages"},
		"checksums_ignored":             {"ignore_checksum_failure = on", "permission", "ignore_checksum_failure"},
		"read_only":                     {"default_transaction_read_only = on", "read_only", "default_transaction_read_only"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, admin := inheriting(t, scopes[0], nil)
			fillChat(t, &Repo{pool: admin}, "c", 20)
			execSQL(t, admin, "alter role "+r.role()+" set "+c.setting)
			r.conns.reset()
			_, err := r.Bulk(t.Context(), purge.Batch{Deletions: []purge.Deletion{deletion("1", "c")}, Budget: wide})
			if fault, cause := purge.FaultOf(err); fault != purge.Infrastructure || cause != c.cause {
				t.Errorf("Bulk = %v (%v, %s); want an infrastructure fault, %s", err, fault, cause, c.cause)
			}
			wantProbe(t, r, c.cause, c.want)
			if left := rowsLeft(t, &Repo{pool: admin}, "c"); left != "20 messages, 2 reactions, 1 attachments, 1 rows" {
				t.Errorf("left are %s; want all", left)
			}
			execSQL(t, admin, "alter role "+r.role()+" reset all")
			wantHealthy(t, r)
			if rec := carryOut(t, r, deletion("1", "c"), 1000); rec.MessagesDeleted != 20 {
				t.Errorf("record = %+v; want 20 messages deleted", rec)
			}
		})
	}
}

// What commits while a transaction of ours waits for it is seen by the statements that
// come after, whatever isolation is the default.
func TestIsolationIsOurOwn(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"repeatable read", "serializable"} {
		open := func(t *testing.T) *Repo {
			t.Helper()
			address := newDatabase(t)
			admin := openPool(t, address)
			execSQL(t, admin, "alter database "+queryOne[string](t, admin, `select current_database()::text`)+" set default_transaction_isolation = '"+level+"'")
			r := openRepo(t, Config{URL: address, Plan: plan.Bundled(), Target: 10 * time.Second})
			fillChat(t, r, "c", 20)
			return r
		}
		writer := func(t *testing.T, r *Repo, statements ...string) pgx.Tx {
			t.Helper()
			tx, err := r.pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
			if err != nil {
				t.Fatal(err)
			}
			for _, sql := range statements {
				if _, err := tx.Exec(t.Context(), sql); err != nil {
					t.Fatal(err)
				}
			}
			return tx
		}
		t.Run("a_reaction_that_slips_in_goes_too_"+strings.ReplaceAll(level, " ", "_"), func(t *testing.T) {
			t.Parallel()
			r := open(t)
			tx := writer(t, r, `select from chat.messages where seq = 7 for key share`,
				`insert into chat.reactions (app_id, user_id, conversation_id, seq, reactor_id, emoji) values ('demo', 'alice', 'c', 7, 'carol', '+1')`)
			b := purge.Batch{Deletions: []purge.Deletion{deletion("1", "c")}, Budget: wide}
			res, err := whileItWaits(t, r, func() (purge.Result, error) { return r.Bulk(t.Context(), b) }, func() error { return tx.Commit(t.Context()) })
			for tries := 0; err == nil && !res.Records[0].Final() && tries < 10; tries++ {
				res = steps(t, r, b.Deletions...)
			}
			if left := rowsLeft(t, r, "c"); err != nil || left != nothing {
				t.Errorf("Bulk = %+v, %v, and left are %s; want nothing left", res, err, left)
			}
		})
		t.Run("a_row_with_a_newer_message_stays_"+strings.ReplaceAll(level, " ", "_"), func(t *testing.T) {
			t.Parallel()
			r := open(t)
			d := deletion("1", "c")
			bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}, Budget: purge.Budget{PerDeletion: 10, Rows: 10}})
			if step, err := r.Step(t.Context(), d, purge.Part{Limit: 100}); err != nil || step.Record.MessagesDeleted != 20 {
				t.Fatalf("step = %+v, %v; want all gone", step, err)
			}
			tx := writer(t, r, `select from chat.conversations where conversation_id = 'c' for update`,
				`insert into chat.messages (app_id, user_id, conversation_id, seq) values ('demo', 'alice', 'c', 21)`)
			rec, err := whileItWaits(t, r, func() (purge.Record, error) { return r.Finish(t.Context(), d) }, func() error { return tx.Commit(t.Context()) })
			left := rowsLeft(t, r, "c")
			if err != nil || rec.State != purge.Done || rec.ConversationRemoved || left != "1 messages, 0 reactions, 0 attachments, 1 rows" {
				t.Errorf("Finish = %+v, %v, and left are %s; want the new message and the conversation's row", rec, err, left)
			}
		})
	}
}

// Row-level security that somebody switches on while the worker runs hides rows from
// it, and is refused instead: on whichever table, and in the middle of a deletion.
func TestRowLevelSecurityIsNoticed(t *testing.T) {
	t.Parallel()
	for _, table := range []string{"chat.messages", "chat.reactions", "chat.conversations", "lethe.deletions", "lethe.commands"} {
		t.Run(table, func(t *testing.T) {
			t.Parallel()
			r, admin := inheriting(t, scopes[0], nil)
			fillChat(t, &Repo{pool: admin}, "small", 20)
			fillChat(t, &Repo{pool: admin}, "large", 300)
			large := deletion("large", "large")
			bulk(t, r, purge.Batch{Deletions: []purge.Deletion{large}, Budget: purge.Budget{PerDeletion: 100, Rows: 100}})
			step, err := r.Step(t.Context(), large, purge.Part{Limit: 100})
			if err != nil || step.Rows == 0 {
				t.Fatalf("step = %+v, %v", step, err)
			}
			execSQL(t, admin, "alter table "+table+" enable row level security")
			refused := func(what string, err error) {
				t.Helper()
				if fault, cause := purge.FaultOf(err); fault != purge.Infrastructure || cause != "permission" || !strings.Contains(fmt.Sprint(err), "row-level security") {
					t.Errorf("%s = %v (%v, %s); want an infrastructure fault, row-level security", what, err, fault, cause)
				}
			}
			_, err = r.Bulk(t.Context(), purge.Batch{Deletions: []purge.Deletion{deletion("small", "small")}, Budget: wide})
			refused("Express", err)
			if table != "lethe.commands" && table != "chat.conversations" { // which a batch doesn't look at
				_, err = r.Step(t.Context(), large, purge.Part{Low: step.Low, Limit: 100})
				refused("Step", err)
			}
			_, err = r.Finish(t.Context(), large)
			if table != "lethe.commands" {
				refused("Finish", err)
			}
			wantProbe(t, r, "permission", "bypassrls")
			if left := rowsLeft(t, &Repo{pool: admin}, "small"); left != "20 messages, 2 reactions, 1 attachments, 1 rows" {
				t.Errorf("left are %s; want all", left)
			}
			execSQL(t, admin, "alter role "+r.role()+" bypassrls")
			wantHealthy(t, r)
			for conversation, messages := range map[string]int64{"small": 20, "large": 300} {
				d := large
				if conversation == "small" {
					d = deletion("small", "small")
				}
				rec := carryOut(t, r, d, 100)
				if left := rowsLeft(t, &Repo{pool: admin}, conversation); rec.MessagesDeleted != messages || left != nothing {
					t.Errorf("record = %+v, and left are %s; want %d deleted and nothing left", rec, left, messages)
				}
			}
		})
	}
}

// Setup works under all that its role and database can bring along, too, and a default
// of read only is reported as what it is.
func TestSetupWithDefaults(t *testing.T) {
	t.Parallel()
	for i, group := range slices.Sorted(maps.Keys(hostile)) {
		t.Run(strings.ReplaceAll(group, " ", "_"), func(t *testing.T) {
			t.Parallel()
			address := localtest.Database(t)
			admin := openPool(t, address)
			role, as := newRole(t, address)
			database := queryOne[string](t, admin, `select current_database()::text`)
			execSQL(t, admin, evil+"grant create on database "+database+" to "+role)
			for _, d := range known(t, pairs(hostile[group])) {
				execSQL(t, admin, fmt.Sprintf(scopes[i%len(scopes)], role, database)+" set "+d)
			}
			for range 2 {
				if report, err := Setup(t.Context(), as, SetupOptions{SampleSchema: true}); err != nil || report.After == 0 {
					t.Errorf("Setup = %+v, %v; want the schema", report, err)
				}
			}
		})
	}
	t.Run("read_only", func(t *testing.T) {
		t.Parallel()
		address := localtest.Database(t)
		execSQL(t, openPool(t, address), "alter database "+strings.TrimPrefix(queryOne[string](t, openPool(t, address), `select current_database()::text`), "/")+
			" set default_transaction_read_only = on")
		_, err := Setup(t.Context(), address, SetupOptions{})
		if fault, cause := purge.FaultOf(err); fault != purge.Infrastructure || cause != "read_only" || !strings.Contains(err.Error(), "default_transaction_read_only") {
			t.Errorf("Setup = %v (%v, %s); want an infrastructure fault, read_only", err, fault, cause)
		}
	})
}

// Whoever may create objects in a schema of the search path can't replace what a
// statement means: a function or operator of its very types would be preferred.
func TestNoObjectOfTheSearchPathIsUsed(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	admin := openPool(t, url)
	for _, table := range []string{"messages", "conversations", "reactions", "attachments"} {
		execSQL(t, admin, `alter table chat.`+table+` alter app_id type varchar, alter user_id type varchar, alter conversation_id type varchar`)
	}
	for _, args := range []string{"varchar, text", "varchar, varchar", "oid, text", "tid, text", "xid, text", "bigint[], bigint", "text, bigint"} {
		left, right, _ := strings.Cut(args, ", ")
		execSQL(t, admin, fmt.Sprintf(`
create function public.used(%[1]s) returns boolean language plpgsql as $$ begin raise exception 'an operator of (%[1]s) was used'; end $$;
create operator public.= (function = public.used, leftarg = %[2]s, rightarg = %[3]s);
create operator public.|| (function = public.used, leftarg = %[2]s, rightarg = %[3]s)`, args, left, right))
	}
	for _, f := range []string{
		"count(boolean)", "count(bigint)", "count(anyelement)", "array_agg(bigint)", "array_agg(text)", "unnest(text[])", "first_value(boolean)",
		"max(text)", "concat_ws(text, text, text)", "set_config(text, varchar, boolean)", "current_setting(varchar)", "string_agg(text, varchar)",
	} {
		execSQL(t, admin, fmt.Sprintf(`create function public."%s"(%s returns bigint language plpgsql as $$ begin raise exception '%s was used'; end $$`,
			f[:strings.Index(f, "(")], f[strings.Index(f, "(")+1:], f))
	}
	workUnder(t, openRepo(t, Config{URL: url, Plan: plan.Bundled()}), admin)
}
