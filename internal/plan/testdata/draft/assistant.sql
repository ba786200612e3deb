-- Conversations with a machine: the conversation's row has the owner.
create table chats (id uuid primary key, user_id uuid not null, title text);
create table chat_messages (id uuid primary key, chat_id uuid not null references chats on delete cascade, role text not null, content text not null, created_at timestamptz not null);
create index on chat_messages (chat_id, created_at);
