{{/* What a setup asks before and after the migrations, and what a worker asks of the ledger's key. These statements need no plan. */}}

{{/* Removes from a session what its role and database may have as defaults and a setup can't work with. A role's own timeout is meant for
small statements. A migration that waits for a table's lock makes everybody wait behind it: not for long, and then it tries again. */}}
{{define "setup_session"}}
select pg_catalog.set_config('statement_timeout', '0', false), pg_catalog.set_config('lock_timeout', '250ms', false),
  pg_catalog.set_config('idle_in_transaction_session_timeout', '0', false),
  case when pg_catalog.current_setting('transaction_timeout', true) is not null then pg_catalog.set_config('transaction_timeout', '0', false) end,
  pg_catalog.set_config('default_transaction_isolation', 'read committed', false), pg_catalog.set_config('row_security', 'off', false),
  pg_catalog.set_config('search_path', {{.SearchPath}}, false)
{{end}}

{{define "setup_lock"}}
select pg_try_advisory_lock(@lock)
{{end}}

{{define "setup_unlock"}}
select pg_advisory_unlock(@lock)
{{end}}

{{/* The role and the database, quoted, and the server's version. */}}
{{define "setup_names"}}
select quote_ident(current_user), quote_ident(current_database()), current_setting('server_version_num')::int
{{end}}

{{/* How many tables of the sample schema there are. */}}
{{define "setup_sample"}}
select pg_catalog.count(*) from pg_catalog.pg_tables
where schemaname = 'chat' and tablename in ('conversations', 'messages', 'reactions', 'attachments', 'counters')
{{end}}

{{define "setup_exists"}}
select exists (select from pg_catalog.pg_namespace where nspname = 'lethe')
{{end}}

{{/* Whether the ledger's key has the user. */}}
{{define "key_is_wide"}}
select coalesce((select x.indnkeyatts = 4 from pg_catalog.pg_index x where x.indexrelid = pg_catalog.to_regclass('lethe.deletions_pkey')), false)
{{end}}

{{define "widen_key"}}
select lethe.widen_key()
{{end}}

{{define "setup_create"}}
create schema lethe
{{end}}

{{/* The shard that the database is. */}}
{{define "shard"}}
select coalesce(pg_catalog.substring(pg_catalog.obj_description(pg_catalog.to_regnamespace('lethe')::oid, 'pg_namespace'), '^shard ([-a-z0-9]+)'), '')
{{end}}

{{/* Whether the ledger has an id that the role may read. */}}
{{define "ledger_id_readable"}}
select coalesce(pg_catalog.has_table_privilege(pg_catalog.to_regclass('lethe.ledger_id')::oid, 'select'), false)
{{end}}

{{/* The ledger's id; '' where the table has no row. */}}
{{define "ledger_id"}}
select coalesce((select i.id::text from lethe.ledger_id i), '')
{{end}}
