-- Groups whose members share one log: a message is one row that all of them read. They lie in a database apart from
-- schema chat, since a worker has one plan: plan.yaml. Safe to run again.
create schema if not exists groups;

-- last_seq gives each message its position. The row stays when messages go, so that none is ever used twice.
create table if not exists groups.groups (
    app_id   text   not null,
    group_id text   not null,
    owner_id text   not null, -- who may delete for everyone
    last_seq bigint not null default 0,
    primary key (app_id, group_id)
);

create table if not exists groups.members (
    app_id       text not null,
    group_id     text not null,
    user_id      text not null,
    unread_count int  not null default 0,
    primary key (app_id, group_id, user_id)
);

create index if not exists members_groups on groups.members (app_id, user_id, group_id);

create table if not exists groups.messages (
    app_id    text        not null,
    group_id  text        not null,
    seq       bigint      not null,
    sender_id text        not null,
    sent_at   timestamptz not null default now(),
    body      jsonb       not null default '{}',
    primary key (app_id, group_id, seq)
);
