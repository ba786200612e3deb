-- What roles.sql gives, in the database of the example's shared groups. Run it as roles.sql, after it has made the roles and
-- examples/chat/groups/schema.sql the tables; safe to run again. ledger.sql comes after `worker setup`, as ever.

do $$
begin
    execute format('revoke temporary on database %I from public', current_database());
end $$;
revoke create on schema public from public;
revoke execute on function lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea) from public;

-- lethe_setup owns the ledger; lethe_worker uses it.
create schema if not exists lethe authorization lethe_setup;
alter default privileges for role lethe_setup in schema lethe grant select, insert, update, delete on tables to lethe_worker;
grant usage on schema lethe to lethe_worker, lethe_operator, chat_gateway;

-- lethe_worker hides by members' counters, erases messages, and never deletes a group or a member.
grant usage on schema groups to lethe_worker, chat_gateway;
grant select (app_id, group_id, seq, sent_at, ctid, tableoid), update (seq), delete on groups.messages to lethe_worker;
grant select (app_id, group_id, user_id, unread_count, ctid, tableoid, xmin, xmax), update (unread_count) on groups.members to lethe_worker;
grant select (app_id, group_id, last_seq, ctid, tableoid, xmin, xmax), update (last_seq) on groups.groups to lethe_worker;

-- chat_gateway deletes nothing. It reads where a member's watermark is (ledger.sql), and can't move it.
grant select, insert on groups.messages to chat_gateway;
grant select, insert, update on groups.groups, groups.members to chat_gateway;
