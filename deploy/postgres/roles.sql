-- The roles of Lethe, each with the least that it needs. Run it as the owner of the app's tables, or as a superuser,
-- before the first `worker setup`; safe to run again. It gives no passwords: see deploy/postgres/passwords.sh for the
-- local stack. The tables here are the bundled schema's; for your own, name those of your plan. A missing grant shows in
-- the worker's log and in /readyz, with the statement that gives it.

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

-- lethe_setup owns schema lethe, the ledger, and may do nothing else: worker setup.
create schema if not exists lethe authorization lethe_setup;

-- lethe_worker: worker run.
-- What the setup creates, now and in later versions, is the worker's to use; ledger.sql takes away what it doesn't need.
alter default privileges for role lethe_setup in schema lethe grant select, insert, update, delete on tables to lethe_worker;
grant usage on schema lethe, chat to lethe_worker;
-- It reads keys and where a row lies (ctid, tableoid; xmin and xmax tell whose lock a row carries), and so never what
-- people have written. To lock a row takes the privilege to update one of its columns.
grant select (app_id, user_id, conversation_id, seq, sent_at, ctid, tableoid), update (seq), delete on chat.messages to lethe_worker;
grant select (app_id, user_id, conversation_id, seq, ctid, tableoid), update (seq), delete on chat.reactions, chat.attachments to lethe_worker;
grant select (app_id, user_id, conversation_id, unread_count, last_seq, ctid, tableoid, xmin, xmax), update (unread_count), delete on chat.conversations to lethe_worker;

-- What holds the long lane back (replication lag, waiting sessions) is for pg_monitor to see; inherited, as it needs to be.
grant pg_monitor to lethe_worker;
alter role lethe_worker inherit;

-- lethe_operator: worker status and worker settings. Its tables are in ledger.sql.
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
