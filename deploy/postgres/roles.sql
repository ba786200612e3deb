-- The roles of Lethe, each with the minimum of privileges. Run it as a superuser, or as the owner of the app's tables, before the
-- first `worker setup`; safe to run again, on each version of Postgres from 13 on. It gives no passwords: see
-- deploy/postgres/passwords.sh for the local stack. The tables here are the bundled schema's; for your own, name those of your
-- plan. A missing grant shows in the worker's log and in /readyz, with the statement that gives it.

do $$
declare
    wanted text;
begin
    foreach wanted in array array ['lethe_setup', 'lethe_worker', 'lethe_operator', 'chat_gateway'] loop
        if not exists (select from pg_catalog.pg_roles where rolname = wanted) then
            execute format('create role %I login nosuperuser nocreatedb nocreaterole noinherit', wanted);
        end if;
    end loop;
end $$;

-- Every role may create temporary tables, large objects and, before Postgres 15, tables in public, unless it is revoked. Lethe's
-- roles don't need that. All other roles that exist keep it; grant a later role what it needs, as here.
do $$
declare
    may record;
    other name;
begin
    for may in
        select 'temporary on database ' || quote_ident(current_database()) as what
        from pg_catalog.pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
        where d.datname = current_database() and a.grantee = 0 and a.privilege_type = 'TEMPORARY'
        union all
        select 'create on schema public'
        from pg_catalog.pg_namespace n, aclexplode(n.nspacl) a
        where n.nspname = 'public' and a.grantee = 0 and a.privilege_type = 'CREATE'
        union all
        select 'execute on function pg_catalog.' || p.oid::regprocedure
        from pg_catalog.pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
        where p.pronamespace = 'pg_catalog'::regnamespace and p.proname in ('lo_creat', 'lo_create', 'lo_from_bytea') and a.grantee = 0
    loop
        begin
            for other in
                select rolname from pg_catalog.pg_roles
                where rolname not in ('lethe_setup', 'lethe_worker', 'lethe_operator', 'chat_gateway') and rolname !~ '^pg_' and not rolsuper
            loop
                execute format('grant %s to %I', may.what, other);
            end loop;
            execute format('revoke %s from public', may.what);
        exception when insufficient_privilege then
            raise warning 'every role may still use: %; run this file as a superuser to revoke it', may.what;
        end;
    end loop;
end $$;

-- lethe_setup owns schema lethe, the ledger, and may do nothing else: worker setup.
create schema if not exists lethe authorization lethe_setup;

-- Only members of pg_read_all_stats see how far standbys lag and whose session has a lock, together with the SQL of all sessions.
-- So lethe_setup is the member. It owns the functions lethe.standbys and lethe.sessions, which return only the figures to the
-- worker's role. From Postgres 16 on the membership says whether it is inherited; before, the role does.
alter role lethe_setup inherit;
do $$
begin
    execute 'grant pg_read_all_stats to lethe_setup'
        || case when current_setting('server_version_num')::int >= 160000 then ' with inherit true' else '' end;
    if exists (select from pg_catalog.pg_auth_members
               where roleid = 'pg_monitor'::regrole and member = 'lethe_worker'::regrole) then -- granted by earlier versions of this file
        revoke pg_monitor from lethe_worker;
    end if;
exception when insufficient_privilege then
    raise warning 'large deletions won''t throttle for lagging standbys: lethe_setup is not a member of pg_read_all_stats; run this file as a superuser';
end $$;
alter role lethe_worker noinherit;

-- lethe_worker: worker run.
-- What the setup creates, now and in later versions, is the worker's to use; ledger.sql takes away what it doesn't need.
alter default privileges for role lethe_setup in schema lethe grant select, insert, update, delete on tables to lethe_worker;
grant usage on schema lethe, chat to lethe_worker;
-- It reads keys and where a row lies (ctid, tableoid; xmin and xmax tell whose lock a row carries), and so never what
-- people have written. To lock a row takes the privilege to update one of its columns.
grant select (app_id, user_id, conversation_id, seq, sent_at, ctid, tableoid), update (seq), delete on chat.messages to lethe_worker;
grant select (app_id, user_id, conversation_id, seq, ctid, tableoid), update (seq), delete on chat.reactions, chat.attachments to lethe_worker;
grant select (app_id, user_id, conversation_id, unread_count, last_seq, ctid, tableoid, xmin, xmax), update (unread_count), delete on chat.conversations to lethe_worker;

-- lethe_operator: worker status, settings, pause and resume. Its tables are in ledger.sql.
grant usage on schema lethe to lethe_operator;

-- chat_gateway: the example's gateway writes messages and reads histories. It deletes nothing.
grant usage on schema chat, lethe to chat_gateway;
grant select, insert on chat.messages to chat_gateway;
grant select, insert, update on chat.conversations, chat.counters to chat_gateway;
do $$
begin
    if to_regclass('gateway.idempotency_keys') is not null then -- examples/chat/gateway/keys.sql
        grant usage on schema gateway to chat_gateway;
        grant select, insert, update, delete on gateway.idempotency_keys to chat_gateway;
    end if;
end $$;
