-- +goose Up

-- Which ledger this is. It stands in the stream of commands, too, so that workers of another database don't take commands from it:
-- they would find nothing and report it as deleted. A row, so that a dump, a restore and every copy take it along.
create table lethe.ledger_id (
    id uuid primary key default gen_random_uuid()
);
create unique index ledger_id_one on lethe.ledger_id ((true));
insert into lethe.ledger_id default values;

comment on table lethe.ledger_id is 'One row: which ledger this is. A copy that goes on as an installation of its own needs another id.';

-- Roles that may work on the ledger may read it.
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
        execute 'grant select on lethe.ledger_id to ' || worker;
    end loop;
end $$;
-- +goose StatementEnd
