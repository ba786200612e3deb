-- One log with participants, as a Rails team writes it, with what three users have of three conversations: for the tests.
create table conversations (id bigserial primary key, title varchar, last_message_id bigint, messages_count integer not null default 0);
create table participants (
  id bigserial primary key, conversation_id bigint not null references conversations on delete cascade, user_id bigint not null, last_read_message_id bigint,
  unread_count integer not null default 0, cleared_message_id bigint not null default 0, left_at timestamptz);
create unique index index_participants_on_conversation_id_and_user_id on participants (conversation_id, user_id);
create index index_participants_on_user_id on participants (user_id);
create table messages (
  id bigserial primary key, conversation_id bigint not null references conversations on delete cascade, sender_id bigint, reply_to_id bigint references messages on delete set null,
  body text not null, created_at timestamptz not null default now());
create index index_messages_on_conversation_id_and_id on messages (conversation_id, id);
create index index_messages_on_reply_to_id on messages (reply_to_id);
create table read_receipts (message_id bigint not null references messages on delete cascade, user_id bigint not null, primary key (message_id, user_id));
create table attachments (id bigserial primary key, message_id bigint not null references messages on delete cascade, object_key varchar not null);
create index index_attachments_on_message_id on attachments (message_id);
create function count_messages() returns trigger language plpgsql as $$ begin
  update conversations set messages_count = messages_count + case tg_op when 'INSERT' then 1 else -1 end where id = coalesce(new.conversation_id, old.conversation_id);
  return null; end $$;
create trigger messages_count after insert or delete on messages for each row execute function count_messages();

insert into conversations (title) values ('one'), ('two'), ('all');
insert into participants (conversation_id, user_id, unread_count) values (1, 1, 9), (1, 2, 3), (2, 1, 0), (2, 3, 1), (3, 1, 9), (3, 2, 4), (3, 3, 0);
insert into messages (conversation_id, sender_id, body, created_at)
select c, 1 + i % 3, 'text ' || i, now() - (40 - i) * interval '1 minute' from generate_series(1, 3) c, generate_series(1, 12) i order by i, c;
update messages set reply_to_id = id - 3 where id % 5 = 4 and id > 3;
update conversations c set last_message_id = (select max(id) from messages where conversation_id = c.id);
insert into read_receipts select id, u from messages, generate_series(1, 2) u where id % 4 = 0;
insert into attachments (message_id, object_key) select id, 's3://bucket/' || id from messages where id % 5 = 0;
