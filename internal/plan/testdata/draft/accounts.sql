create table accounts (id bigint primary key, handle text unique not null);
create table rooms (id uuid primary key, title text);
create table room_members (
  room_id uuid not null references rooms, account_id bigint not null references accounts, joined_at timestamptz not null default now(),
  last_read_id bigint, primary key (room_id, account_id));
create table room_messages (
  id bigint primary key generated always as identity, room_id uuid not null references rooms,
  author_id bigint not null references accounts, body text, server_ts timestamptz not null default now());
create index on room_messages (room_id, id);
