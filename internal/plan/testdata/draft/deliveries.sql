-- Pointers with uuids, ordered by time; a member's row with counters.
create table members (thread_id uuid not null, user_id uuid not null, unread int not null default 0, messages_count int not null default 0, last_message_id uuid, primary key (user_id, thread_id));
create table messages (id uuid primary key, thread_id uuid not null, author_id uuid not null, body text not null, sent_at timestamptz not null);
create index on messages (thread_id, sent_at);
create table deliveries (user_id uuid not null, message_id uuid not null references messages, primary key (user_id, message_id));
create index on deliveries (message_id);
create table bookmarks (id bigserial primary key, user_id uuid not null, message_id uuid not null references messages);
create index on bookmarks (message_id);
