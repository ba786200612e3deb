-- Tables of the shape of Chatwoot's, with three inboxes of three conversations each in two accounts: for the tests.
create table conversations (
  id serial primary key, account_id integer not null, inbox_id integer not null, status integer not null default 0, contact_id bigint, display_id integer not null,
  created_at timestamp not null, last_activity_at timestamp not null default current_timestamp, uuid uuid not null default gen_random_uuid());
create unique index index_conversations_on_account_id_and_display_id on conversations (account_id, display_id);
create index index_conversations_on_id_and_account_id on conversations (account_id, id);
create index index_conversations_on_inbox_id on conversations (inbox_id);
create table messages (
  id serial primary key, content text, account_id integer not null, inbox_id integer not null, conversation_id integer not null, message_type integer not null,
  created_at timestamp not null, updated_at timestamp not null, private boolean not null default false, sender_type varchar, sender_id bigint,
  content_type integer not null default 0);
create index index_messages_on_conversation_id on messages (conversation_id);
create index index_messages_on_conversation_account_type_created on messages (conversation_id, account_id, message_type, created_at);
create index index_messages_on_account_id_and_inbox_id on messages (account_id, inbox_id);
create table attachments (id serial primary key, file_type integer default 0, external_url varchar, message_id integer not null, account_id integer not null);
create index index_attachments_on_message_id on attachments (message_id);
create table active_storage_blobs (id bigserial primary key, key varchar not null unique, filename varchar not null);
create table active_storage_attachments (
  id bigserial primary key, name varchar not null, record_type varchar not null, record_id bigint not null, blob_id bigint not null references active_storage_blobs);
create index index_active_storage_attachments_on_blob_id on active_storage_attachments (blob_id);
create unique index index_active_storage_attachments_uniqueness on active_storage_attachments (record_type, record_id, name, blob_id);
create table conversation_participants (id bigserial primary key, account_id bigint not null, user_id bigint not null, conversation_id bigint not null, unique (user_id, conversation_id));
create index index_conversation_participants_on_conversation_id on conversation_participants (conversation_id);
create table mentions (id bigserial primary key, user_id bigint not null, conversation_id bigint not null, account_id bigint not null, unique (user_id, conversation_id));
create index index_mentions_on_conversation_id on mentions (conversation_id);
create table notifications (
  id bigserial primary key, account_id bigint not null, user_id bigint not null, notification_type integer not null, primary_actor_type varchar not null, primary_actor_id bigint not null);
create index uniq_primary_actor_per_account_notifications on notifications (primary_actor_type, primary_actor_id);
create table taggings (id serial primary key, tag_id integer, taggable_type varchar, taggable_id integer, context varchar(128));
create index index_taggings_on_taggable_id_and_taggable_type_and_context on taggings (taggable_id, taggable_type, context);
create table csat_survey_responses (id bigserial primary key, account_id bigint not null, conversation_id bigint not null, message_id bigint not null unique, rating integer not null);
create index index_csat_survey_responses_on_conversation_id on csat_survey_responses (conversation_id);
create table reporting_events (id bigserial primary key, name varchar, value float, account_id integer, conversation_id integer);
create sequence conv_dpid_seq;
create function conversations_before_insert_row_tr() returns trigger language plpgsql as $$ begin new.display_id := nextval('conv_dpid_seq'); return new; end $$;
create trigger conversations_before_insert_row_tr before insert on conversations for each row execute function conversations_before_insert_row_tr();

insert into conversations (account_id, inbox_id, contact_id, display_id, created_at)
select account, 1 + c / 3, c, 0, now() at time zone 'UTC' from generate_series(1, 2) account, generate_series(0, 8) c order by account, c;
insert into messages (content, account_id, inbox_id, conversation_id, message_type, created_at, updated_at, sender_type, sender_id)
select 'text ' || i, c.account_id, c.inbox_id, c.id, i % 2, t.at, t.at, case when i % 2 = 0 then 'Contact' else 'User' end, 7
from conversations c, generate_series(1, 12) i, lateral (select (now() at time zone 'UTC') - (40 - i) * interval '1 minute' as at) t order by i, c.id;
insert into attachments (message_id, account_id) select id, account_id from messages where id % 3 = 0 order by id;
insert into active_storage_blobs (key, filename) select 'k' || id, 'a.png' from attachments order by id;
insert into active_storage_attachments (name, record_type, record_id, blob_id) select 'file', 'Attachment', id, id from attachments;
insert into active_storage_attachments (name, record_type, record_id, blob_id) select 'avatar', 'Contact', id, id from attachments; -- of others, with the same numbers
insert into conversation_participants (account_id, user_id, conversation_id) select account_id, 7, id from conversations;
insert into mentions (user_id, conversation_id, account_id) select 7, id, account_id from conversations;
insert into notifications (account_id, user_id, notification_type, primary_actor_type, primary_actor_id) select account_id, 7, 1, t, id from conversations, unnest(array['Conversation', 'Message']) t;
insert into taggings (tag_id, taggable_type, taggable_id, context) select 1, t, id, 'labels' from conversations, unnest(array['Conversation', 'Contact']) t;
insert into csat_survey_responses (account_id, conversation_id, message_id, rating) select account_id, conversation_id, max(id), 5 from messages group by 1, 2;
insert into reporting_events (name, value, account_id, conversation_id) select 'first_response', 1.5, account_id, id from conversations;
