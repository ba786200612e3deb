-- An account may be who owns the copy, or a customer of the service.
create table messages (
  id bigserial primary key, account_id bigint not null, chat_id bigint not null, sender_id bigint not null, body text, sent_at timestamptz not null default now());
create index on messages (account_id, chat_id, id);
