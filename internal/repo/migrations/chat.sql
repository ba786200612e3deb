-- The bundled chat schema. Safe to run again. No foreign keys to messages:
-- with an index they cost two thirds of a purge's speed, without one they make
-- it hopeless.
create schema if not exists chat;

create table if not exists chat.conversations (
    app_id          text        not null,
    user_id         text        not null,
    conversation_id text        not null,
    last_seq        bigint      not null default 0,
    unread_count    int         not null default 0,
    draft           text        not null default '',
    pinned          boolean     not null default false,
    updated_at      timestamptz not null default now(),
    primary key (app_id, user_id, conversation_id)
);

-- The owners of a conversation, for scope everyone.
create index if not exists conversations_owners on chat.conversations (app_id, conversation_id, user_id);

create table if not exists chat.messages (
    app_id          text        not null,
    user_id         text        not null,
    conversation_id text        not null,
    seq             bigint      not null,
    sender_id       text        not null default '',
    sent_at         timestamptz not null default now(),
    body            jsonb       not null default '{}',
    primary key (app_id, user_id, conversation_id, seq)
);

create table if not exists chat.reactions (
    app_id          text        not null,
    user_id         text        not null,
    conversation_id text        not null,
    seq             bigint      not null,
    reactor_id      text        not null,
    emoji           text        not null,
    reacted_at      timestamptz not null default now(),
    primary key (app_id, user_id, conversation_id, seq, reactor_id, emoji)
);

create table if not exists chat.attachments (
    app_id          text        not null,
    user_id         text        not null,
    conversation_id text        not null,
    seq             bigint      not null,
    attachment_id   uuid        not null,
    object_key      text        not null default '',
    bytes           bigint      not null default 0,
    primary key (app_id, user_id, conversation_id, seq, attachment_id)
);

-- A writer takes a message's seq from here. No deletion touches this table, so
-- that no seq is ever used twice.
create table if not exists chat.counters (
    app_id   text   not null,
    user_id  text   not null,
    last_seq bigint not null default 0,
    primary key (app_id, user_id)
);
