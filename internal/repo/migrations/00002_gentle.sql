-- +goose Up

-- What holds lanes of all workers back: an operator's pause (cause 'paused',
-- without an end), and the rest after a slow batch (lane 'long', cause
-- 'slow_batch'). A few rows at the most. No row that is needed is ever locked for
-- longer than a statement.
create table lethe.holds (
    lane   text        not null check (lane in ('all', 'long')),
    cause  text        not null,
    since  timestamptz not null default now(),
    until  timestamptz,
    detail text        not null default '',
    primary key (lane, cause)
);

comment on table lethe.holds is 'What holds lanes of all workers back.';

-- There is nothing in it to hide, and a worker that may not read it could not
-- obey. Whoever may work on the ledger may note a slow batch too.
grant select on lethe.holds to public;

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
        execute 'grant insert, update on lethe.holds to ' || worker;
    end loop;
end $$;
-- +goose StatementEnd

-- What a deletion in the long lane waits for, while it holds its lease.
alter table lethe.deletions add column waiting_for text;
