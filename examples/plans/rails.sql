-- Tables as a Rails team writes them for copies, with what three owners have of three rooms: for the tests.
create table mailboxes (
  id bigserial primary key, user_id bigint not null, room_id uuid not null, title varchar, draft text, unread_count integer not null default 0, messages_count integer not null default 0,
  last_message_id bigint);
create unique index index_mailboxes_on_user_id_and_room_id on mailboxes (user_id, room_id);
create table messages (
  id bigserial primary key, user_id bigint not null, room_id uuid not null, author_id bigint not null, body text not null, created_at timestamp(6) not null,
  reply_to_id bigint references messages on delete set null);
create index index_messages_on_user_id_and_room_id_and_id on messages (user_id, room_id, id);
create index index_messages_on_reply_to_id on messages (reply_to_id);
create table attachments (id uuid primary key default gen_random_uuid(), message_id bigint not null references messages on delete cascade, object_key varchar not null);
create index index_attachments_on_message_id on attachments (message_id);
create table reactions (message_id bigint not null references messages on delete cascade, user_id bigint not null, emoji varchar not null, primary key (message_id, user_id, emoji));
create table pins (id bigserial primary key, user_id bigint not null, message_id bigint references messages on delete set null, note varchar);
create index index_pins_on_message_id on pins (message_id);

insert into mailboxes (user_id, room_id, title, draft, unread_count, messages_count)
select u, ('00000000-0000-0000-0000-00000000000' || r)::uuid, 'room ' || r, 'draft', 9, 12 from generate_series(1, 3) u, generate_series(1, 3) r;
insert into messages (user_id, room_id, author_id, body, created_at)
select user_id, room_id, 1 + i % 3, 'text ' || i, (now() at time zone 'UTC') - (40 - i) * interval '1 minute' from mailboxes, generate_series(1, 12) i order by i, 1, 2;
update messages m set reply_to_id = (select max(o.id) from messages o where o.user_id = m.user_id and o.room_id = m.room_id and o.id < m.id) where id % 4 = 0;
update mailboxes b set last_message_id = (select max(m.id) from messages m where m.user_id = b.user_id and m.room_id = b.room_id);
insert into attachments (message_id, object_key) select id, 's3://bucket/' || id from messages where id % 5 = 0;
insert into reactions (message_id, user_id, emoji) select id, u, '+1' from messages, generate_series(1, 2) u where id % 3 = 0;
insert into pins (user_id, message_id, note) select user_id, id, 'note' from messages where id % 6 = 0;
