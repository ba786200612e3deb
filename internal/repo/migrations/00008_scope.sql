-- +goose Up

-- Version 2 of the command. Constants as defaults: the table isn't rewritten.
alter table lethe.deletions
    add column scope text,
    add column requested_by text,
    add column conversation_kept boolean not null default false,
    add column erased boolean not null default true,
    add column erased_told boolean not null default false;

comment on table lethe.deletions is 'One row for each (app, command, user, conversation); never a message''s content.';
comment on column lethe.deletions.scope is 'everyone; null for self.';
comment on column lethe.deletions.requested_by is 'Of scope everyone: the user who asked.';
comment on column lethe.deletions.conversation_kept is 'keep_conversation: the conversation''s row stays.';
comment on column lethe.deletions.erased is 'When it was done, no message at or below the boundary was left for anybody. False in a shared log whose floor was below.';
comment on column lethe.deletions.erased_told is 'The stream has the event conversation.erased.';

-- Commands that name their deletions by a rule: all conversations of a user, or everyone's copy of a conversation. Their
-- deletions are found page by page. Removed with the command.
create table lethe.enumerations (
    app_id            text        not null,
    command_id        text        not null,
    cursor            text,
    page              text[],
    through_seq       bigint,
    looked_up         text[],
    multi_client_sync boolean,
    completed_at      timestamptz,
    primary key (app_id, command_id)
);

comment on table lethe.enumerations is 'One row for each command for all conversations or for everyone: how far its deletions have been found.';
comment on column lethe.enumerations.cursor is 'Up to where deletions have been found.';
comment on column lethe.enumerations.page is 'Of those, the conversations or owners whose deletions may not be final, or whose events may not be stored.';
comment on column lethe.enumerations.through_seq is 'In a shared log: the boundary, pinned once for all members.';

-- Through which seq a member of a shared log has deleted a conversation. It never moves back, and stays when the member leaves.
create table lethe.watermarks (
    app_id          text        not null,
    user_id         text        not null,
    conversation_id text        not null,
    cleared_through bigint      not null,
    cleared_at      timestamptz not null default now(),
    primary key (app_id, user_id, conversation_id)
);

comment on table lethe.watermarks is 'Shared logs: a user sees the messages of a conversation above cleared_through.';

-- Roles that may work on the ledger may work on these.
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
        execute 'grant select, insert, update, delete on lethe.enumerations to ' || worker;
        execute 'grant select, insert, update on lethe.watermarks to ' || worker;
    end loop;
end $$;
-- +goose StatementEnd
