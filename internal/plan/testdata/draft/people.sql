-- Copies whose owner and sender are accounts by their foreign keys.
create table accounts (id bigint primary key, handle text unique not null);
create table messages (
  id bigserial primary key, account_id bigint not null references accounts, chat_id bigint not null, sender_id bigint not null references accounts,
  body text, sent_at timestamptz not null default now());
create index on messages (account_id, chat_id, id);
