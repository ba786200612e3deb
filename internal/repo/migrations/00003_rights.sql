-- +goose Up

-- What the worker may see of other sessions and of standbys: figures, and never their SQL, which contains messages. Postgres shows
-- these figures only to members of pg_read_all_stats, together with pg_stat_activity.query. So the functions run with the rights of
-- their owner (deploy/postgres/roles.sql), and the worker's role is not a member. If the owner is not a member either, Postgres
-- returns nulls, and the worker says which figures it leaves out.
create function lethe.standbys() returns table (application_name text, state text, replay_lsn pg_lsn)
language sql stable security definer set search_path = pg_catalog, pg_temp as
'select s.application_name, s.state, s.replay_lsn from pg_catalog.pg_stat_replication s';

comment on function lethe.standbys() is 'The standbys and how far each has replayed.';

-- The sessions of this database: the role, and when the session and its transaction began.
create function lethe.sessions() returns table (pid integer, usename name, application_name text, backend_start timestamptz, xact_start timestamptz)
language sql stable security definer set search_path = pg_catalog, pg_temp as
'select a.pid, a.usename, a.application_name, a.backend_start, a.xact_start
from pg_catalog.pg_stat_activity a where a.datname = pg_catalog.current_database()';

comment on function lethe.sessions() is 'The sessions of this database, without what they run.';

revoke all on function lethe.standbys(), lethe.sessions() from public;

-- Only an operator sets and lifts pauses; workers note waits in the same table. Whoever may delete from it is an operator:
-- ledger.sql revokes that from workers.
-- +goose StatementBegin
create function lethe.guard_pauses() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if not pg_catalog.has_table_privilege(tg_relid, 'delete') then
        raise exception 'role % may not pause or resume: that takes the privilege to delete from lethe.holds', current_user
            using errcode = 'insufficient_privilege';
    end if;
    return coalesce(new, old);
end $$;
-- +goose StatementEnd

revoke all on function lethe.guard_pauses() from public;

create trigger guard_new_pauses before insert on lethe.holds
for each row when (new.cause = 'paused') execute function lethe.guard_pauses();

create trigger guard_changed_pauses before update on lethe.holds
for each row when (old.cause = 'paused' or new.cause = 'paused') execute function lethe.guard_pauses();

-- More about waiting_for, for people: figures, or who has the lock.
alter table lethe.deletions add column waiting_detail text;

-- Roles that may update the ledger may see the figures.
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
        execute 'grant execute on function lethe.standbys(), lethe.sessions() to ' || worker;
    end loop;
end $$;
-- +goose StatementEnd
