-- Kinds of rows by an enum and a boolean, which each index has.
create type kind as enum ('chat', 'call');
create table messages (owner_id bigint not null, channel_id bigint not null, id bigint not null, kind_of kind not null, is_group boolean not null, is_deleted boolean not null default false, content text, created_at timestamptz not null default now(), primary key (owner_id, channel_id, id, kind_of, is_group, is_deleted));
create index on messages (owner_id, kind_of, is_group, channel_id, id);
