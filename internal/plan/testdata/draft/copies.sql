-- A copy for each owner, with counters, children that go, stay, or belong to several tables.
create table mailboxes (id bigserial primary key, user_id bigint not null, room_id uuid not null, unread_count int not null default 0, messages_count int not null default 0, last_message_id bigint, unique (user_id, room_id));
create table messages (id bigserial primary key, user_id bigint not null, room_id uuid not null, author_id bigint not null, body text not null, created_at timestamp(6) not null, reply_to_id bigint references messages on delete set null);
create index on messages (user_id, room_id, id);
create index on messages (reply_to_id);
create table attachments (id bigserial primary key, message_id bigint not null references messages on delete cascade);
create index on attachments (message_id);
create table thumbnails (id bigserial primary key, attachment_id bigint not null references attachments);
create index on thumbnails (attachment_id);
create table active_storage_attachments (id bigserial primary key, record_type varchar not null, record_id bigint not null);
create index on active_storage_attachments (record_type, record_id);
create table pins (id bigserial primary key, message_id bigint references messages on delete set null);
create index on pins (message_id);
create table users (id bigserial primary key, email text not null unique);
create table clips (id bigserial primary key, message_id bigint references messages);
create index on clips (message_id);
