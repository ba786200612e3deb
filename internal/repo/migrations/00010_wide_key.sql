-- +goose Up

alter table lethe.deletions add column erased_at timestamptz;
comment on column lethe.deletions.erased_at is 'Of a deletion that was not erased when it was done: when the last of it was; pinned before the event.';

-- Makes deletions_key the primary key, if it isn't yet. A worker calls it before the first command for everyone. Until then a ledger
-- that older workers have worked on keeps their key (app_id, command_id, conversation_id): they name it in a statement, and could
-- not go on after an outage without it. Nobody waits for longer than the lock's timeout; then it fails, and is called again.
-- +goose StatementBegin
create function lethe.widen_key() returns void language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '250ms' as $$
begin
    if to_regclass('lethe.deletions_key') is null then
        return;
    end if;
    lock table lethe.deletions in access exclusive mode;
    if to_regclass('lethe.deletions_key') is not null then -- nobody was quicker
        alter table lethe.deletions drop constraint deletions_pkey, add constraint deletions_pkey primary key using index deletions_key;
    end if;
end $$;
-- +goose StatementEnd

comment on function lethe.widen_key() is 'Makes (app_id, command_id, user_id, conversation_id) the primary key of the ledger.';

revoke all on function lethe.widen_key() from public;

-- Roles that may work on the ledger may call it.
-- +goose StatementBegin
do $$
declare
    worker text;
begin
    for worker in
        select distinct a.grantee::regrole::text
        from pg_class c cross join lateral aclexplode(c.relacl) a
        where c.oid = 'lethe.deletions'::regclass and a.privilege_type = 'UPDATE' and a.grantee not in (0, c.relowner)
    loop
        execute 'grant execute on function lethe.widen_key() to ' || worker;
    end loop;
end $$;
-- +goose StatementEnd
