-- Copies whose owner is an account, and whose sender is, too.
create table messages (
  id bigserial primary key, account_id bigint not null, chat_id bigint not null, from_account bigint not null, body text, sent_at timestamptz not null default now());
create index on messages (account_id, chat_id, id);
create table inbox_state (account_id bigint not null, chat_id bigint not null, unread_count int not null default 0, primary key (account_id, chat_id));
create table attachments (id bigserial primary key, message_id bigint not null references messages, path text);
create index on attachments (message_id);
