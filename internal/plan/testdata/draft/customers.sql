-- A shared log of several customers, whose users have another name than account.
create table messages (
  id bigserial primary key, account_id bigint not null, chat_id bigint not null, sender_id bigint not null, body text, sent_at timestamptz not null default now());
create index on messages (account_id, chat_id, id);
create table chat_members (chat_id bigint not null, user_id bigint not null, primary key (chat_id, user_id));
