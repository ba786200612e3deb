-- +goose Up

-- Which ledger this is. It stands in the stream of commands, too, so that workers of another database don't take commands from it:
-- they would find nothing and report it as deleted. A row, so that a dump, a restore and every copy take it along.
create table lethe.ledger_id (
    id uuid primary key default gen_random_uuid()
);
create unique index ledger_id_one on lethe.ledger_id ((true));
insert into lethe.ledger_id default values;

comment on table lethe.ledger_id is 'One row: which ledger this is. A copy that goes on as an installation of its own needs another id.';

-- To everybody who may use the schema: a worker that can't read it would take any database's commands.
grant select on lethe.ledger_id to public;
