-- Tables as a Django team writes them for copies, with what three owners have of three rooms: for the tests.
create table auth_user (id serial primary key, username varchar(150) not null unique);
create table django_content_type (id serial primary key, app_label varchar(100) not null, model varchar(100) not null, unique (app_label, model));
create table chat_room (id bigserial primary key, name varchar(100) not null);
create table chat_message (
  id bigserial primary key, owner_id integer not null references auth_user (id) deferrable initially deferred, room_id bigint not null references chat_room (id) deferrable initially deferred,
  sender_id integer references auth_user (id) deferrable initially deferred, text text not null, sent_at timestamptz not null);
create index on chat_message (owner_id);
create index on chat_message (room_id);
create index on chat_message (sender_id);
create table chat_membership (
  id bigserial primary key, user_id integer not null references auth_user (id) deferrable initially deferred, room_id bigint not null references chat_room (id) deferrable initially deferred,
  unread_count integer not null check (unread_count >= 0), unique (user_id, room_id));
create table chat_attachment (id bigserial primary key, message_id bigint not null references chat_message (id) deferrable initially deferred, file varchar(100) not null);
create index on chat_attachment (message_id);
create table reactions_reaction (
  id bigserial primary key, content_type_id integer not null references django_content_type (id) deferrable initially deferred, object_id text not null, emoji varchar(20) not null);
create index on reactions_reaction (content_type_id, object_id);

insert into auth_user (username) values ('alice'), ('bob'), ('carol');
insert into django_content_type (app_label, model) values ('auth', 'user'), ('blog', 'message'), ('chat', 'room'), ('chat', 'message');
insert into chat_room (name) values ('one'), ('two'), ('three');
insert into chat_membership (user_id, room_id, unread_count) select u.id, r.id, 9 from auth_user u, chat_room r;
insert into chat_message (owner_id, room_id, sender_id, text, sent_at)
select user_id, room_id, 1 + i % 3, 'text ' || i, now() - (40 - i) * interval '1 minute' from chat_membership, generate_series(1, 12) i order by i, 1, 2;
insert into chat_attachment (message_id, file) select id, 'chat/' || id from chat_message where id % 5 = 0;
insert into reactions_reaction (content_type_id, object_id, emoji) select t.id, m.id::text, '+1' from chat_message m, django_content_type t where m.id % 3 = 0;
