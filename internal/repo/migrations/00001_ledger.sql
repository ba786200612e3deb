-- +goose Up

-- The ids keep the database's collation, here and below: with one of their own
-- (faster in itself) they could not be compared with the keys of a user's
-- table by that table's index.

-- One row for each command that was ever taken up: its key makes a command's
-- content unique, also when two workers meet one id with different content.
create table lethe.commands (
    app_id     text        not null,
    command_id text        not null,
    digest     bytea       not null,
    created_at timestamptz not null default now(),
    primary key (app_id, command_id)
);

-- For retention, which removes rows in this order. Rows of one batch share a
-- created_at, so that this costs seven bytes a row. BRIN would cost none but
-- stops working when the space of removed rows is used again: its ranges only
-- ever widen, and in the end every one of them holds old rows and new.
create index commands_created_at on lethe.commands (created_at);

-- The ledger: one row for each deletion. Columns that tell the outcome carry
-- the names of the event's fields. Room is left in each page, because a row is
-- updated in place two or three times before it is final.
create table lethe.deletions (
    app_id               text        not null,
    command_id           text        not null,
    conversation_id      text        not null,
    user_id              text        not null,
    origin_device_id     text,
    state                text        not null check (state in ('pending', 'running', 'done', 'failed')),
    requested_through_seq bigint,
    stored_at            timestamptz not null,
    through_seq          bigint,
    cursor_seq           bigint      not null default 0,
    batch_seq            bigint,
    messages_deleted     bigint      not null default 0,
    history_kept         boolean     not null,
    conversation_removed boolean     not null default false,
    multi_client_sync    boolean     not null default false,
    requested_at         text,
    created_at           timestamptz not null default now(),
    completed_at         timestamptz,
    failed_at            timestamptz,
    reason               text,
    message              text,
    attempts             integer     not null default 0,
    last_error           text,
    retried              bigint[]    not null default '{}',
    lease_token          uuid,
    lease_until          timestamptz,
    primary key (app_id, command_id, conversation_id)
) with (fillfactor = 70);

comment on table lethe.deletions is 'One row for each (app, command, conversation); never a message''s content.';
comment on column lethe.deletions.through_seq is 'The boundary, pinned once: the last seq that the deletion covers.';
comment on column lethe.deletions.cursor_seq is 'Nothing is left at or below this seq.';
comment on column lethe.deletions.batch_seq is 'The upper end of the batch in hand.';
comment on column lethe.deletions.retried is 'The dead letters whose retry has reopened this deletion.';

create table lethe.apps (
    app_id            text    primary key,
    multi_client_sync boolean not null default false
);
