-- Tables of the shape of Discourse's chat, with what three users have of three channels: for the tests.
create table chat_channels (id bigserial primary key, chatable_id integer not null, chatable_type varchar not null, deleted_at timestamp(6), messages_count integer not null default 0, last_message_id bigint);
create table user_chat_channel_memberships (
  id bigserial primary key, user_id integer not null, chat_channel_id integer not null, last_read_message_id integer, following boolean not null default false, created_at timestamp(6) not null default now());
create unique index user_chat_channel_unique_memberships on user_chat_channel_memberships (user_id, chat_channel_id);
create table chat_messages (
  id bigserial primary key, chat_channel_id integer not null, user_id integer, created_at timestamp(6) not null, updated_at timestamp(6) not null, deleted_at timestamp(6), in_reply_to_id integer, message text,
  thread_id integer);
create index index_chat_messages_on_chat_channel_id_and_created_at on chat_messages (chat_channel_id, created_at);
create index index_chat_messages_on_chat_channel_id_and_id on chat_messages (chat_channel_id, id) where deleted_at is null;
create table chat_message_reactions (id bigserial primary key, chat_message_id integer, user_id integer, emoji varchar);
create unique index chat_message_reactions_index on chat_message_reactions (chat_message_id, user_id, emoji);
create table chat_mentions (id bigserial primary key, chat_message_id integer not null, target_id integer, type varchar not null);
create index index_chat_mentions_on_chat_message_id on chat_mentions (chat_message_id);
create table chat_message_revisions (id bigserial primary key, chat_message_id integer, old_message text not null, new_message text not null);
create index index_chat_message_revisions_on_chat_message_id on chat_message_revisions (chat_message_id);
create table upload_references (id bigserial primary key, target_type varchar not null, target_id bigint not null, upload_id bigint not null);
create index index_upload_references_on_target on upload_references (target_type, target_id);

insert into chat_channels (chatable_id, chatable_type, messages_count) values (1, 'DirectMessage', 12), (2, 'DirectMessage', 12), (3, 'Category', 12);
insert into user_chat_channel_memberships (user_id, chat_channel_id, following) values (1, 1, true), (2, 1, false), (1, 2, true), (3, 2, true), (1, 3, true), (2, 3, true), (3, 3, true);
insert into chat_messages (chat_channel_id, user_id, created_at, updated_at, deleted_at, message)
select c, 1 + i % 3, t.at, t.at, case when i % 6 = 0 then t.at end, 'text ' || i
from generate_series(1, 3) c, generate_series(1, 12) i, lateral (select (now() at time zone 'UTC') - (40 - i) * interval '1 minute' as at) t order by i, c;
update chat_channels c set last_message_id = (select max(id) from chat_messages where chat_channel_id = c.id);
insert into chat_message_reactions (chat_message_id, user_id, emoji) select id, 2, 'heart' from chat_messages where id % 5 = 0;
insert into chat_mentions (chat_message_id, target_id, type) select id, 2, 'user' from chat_messages where id % 7 = 0;
insert into chat_message_revisions (chat_message_id, old_message, new_message) select id, 'old', message from chat_messages where id % 8 = 0;
insert into upload_references (target_type, target_id, upload_id) select t, id, id from chat_messages, unnest(array['ChatMessage', 'Post']) t where id % 5 = 0;
