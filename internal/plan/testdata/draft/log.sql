-- A log that members share, in order of time, and members who come and go.
create table rooms (id uuid primary key, last_message_at timestamptz, last_message_id uuid, message_count int not null default 0);
create table room_members (
  room_id uuid not null references rooms, user_id text not null, cleared_at timestamptz, left_at timestamptz, removed_at timestamptz, history_from timestamptz, active boolean not null default true,
  unread int not null default 0, message_count int not null default 0, unique (room_id, user_id));
create table room_messages (id uuid primary key, room_id uuid not null references rooms, user_id text not null, text text, created_at timestamptz not null default now());
create index on room_messages (room_id, created_at);
create table room_message_files (message_id uuid not null references room_messages, name text not null, primary key (message_id, name));
