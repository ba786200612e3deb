-- A log that members share: who comes back has a new row, and the other one says that they left.
create table rooms (id uuid primary key, name text);
create table room_members (id bigserial primary key, room_id uuid not null references rooms, user_id uuid not null, joined_at timestamptz not null default now(), left_at timestamptz, is_deleted boolean not null default false, deleted_at timestamptz);
create unique index on room_members (room_id, user_id) where left_at is null and not is_deleted;
create index on room_members (user_id, room_id);
create table messages (id bigserial primary key, room_id uuid not null references rooms, sender_id uuid not null, body text, server_ts bigint not null);
create index on messages (room_id, id);
