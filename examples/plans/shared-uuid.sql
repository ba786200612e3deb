-- One log with members and uuid ids, with what three users have of three rooms: for the tests.
create table rooms (id uuid primary key default gen_random_uuid(), name text not null, last_message_at timestamptz);
create table room_members (room_id uuid not null references rooms on delete cascade, user_id uuid not null, last_read_at timestamptz, primary key (room_id, user_id));
create index on room_members (user_id);
create table room_messages (
  id uuid primary key default gen_random_uuid(), room_id uuid not null references rooms on delete cascade, sender_id uuid not null, body text not null, created_at timestamptz not null default now());
create index on room_messages (room_id, created_at);
create table room_attachments (id uuid primary key default gen_random_uuid(), message_id uuid not null references room_messages on delete cascade, url text not null);
create index on room_attachments (message_id);

insert into rooms (id, name) select ('00000000-0000-0000-0000-00000000001' || c)::uuid, 'room ' || c from generate_series(1, 3) c;
insert into room_members (room_id, user_id)
select ('00000000-0000-0000-0000-00000000001' || c)::uuid, ('00000000-0000-0000-0000-00000000000' || u)::uuid from (values (1, 1), (1, 2), (2, 1), (2, 3), (3, 1), (3, 2), (3, 3)) v (c, u);
insert into room_messages (room_id, sender_id, body, created_at)
select id, ('00000000-0000-0000-0000-00000000000' || 1 + i % 3)::uuid, 'text ' || i, now() - (40 - i) * interval '1 minute' from rooms, generate_series(1, 12) i;
update rooms r set last_message_at = (select max(created_at) from room_messages where room_id = r.id);
insert into room_attachments (message_id, url) select id, 's3://bucket' from room_messages where body like '%5';
