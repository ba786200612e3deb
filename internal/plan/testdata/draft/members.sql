-- A log that members share.
create table conversations (id bigserial primary key, messages_count int not null default 0);
create table participants (id bigserial primary key, conversation_id bigint not null references conversations on delete cascade, user_id bigint not null, unique (conversation_id, user_id));
create table messages (id bigserial primary key, conversation_id bigint not null references conversations on delete cascade, sender_id bigint, body text not null, created_at timestamptz not null);
create index on messages (conversation_id, id);
create table read_receipts (message_id bigint not null references messages on delete cascade, user_id bigint not null, primary key (message_id, user_id));
