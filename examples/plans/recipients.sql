-- Pointers to shared messages, with what three users have of three threads: for the tests.
create table thread_members (
  thread_id uuid not null, user_id uuid not null, unread integer not null default 0, messages integer not null default 0, last_message_id uuid, muted boolean not null default false,
  primary key (user_id, thread_id));
create table messages (id uuid primary key default gen_random_uuid(), thread_id uuid not null, author_id uuid not null, body text not null, sent_at timestamptz not null default now());
create index on messages (thread_id, sent_at);
create table deliveries (user_id uuid not null, message_id uuid not null references messages on delete cascade, read_at timestamptz, primary key (user_id, message_id));
create index on deliveries (message_id);
create table reactions (message_id uuid not null references messages on delete cascade, user_id uuid not null, emoji text not null, primary key (message_id, user_id, emoji));
create table files (id uuid primary key default gen_random_uuid(), object_key text not null unique);
create table message_files (message_id uuid not null references messages on delete cascade, file_id uuid not null references files, primary key (message_id, file_id));
create index on message_files (file_id);
create table bookmarks (id bigserial primary key, user_id uuid not null, message_id uuid not null references messages);
create index on bookmarks (message_id);

insert into thread_members (thread_id, user_id, unread)
select ('00000000-0000-0000-0000-00000000001' || t)::uuid, ('00000000-0000-0000-0000-00000000000' || u)::uuid, 9 from generate_series(1, 3) t, generate_series(1, 3) u;
insert into messages (thread_id, author_id, body, sent_at)
select thread_id, '00000000-0000-0000-0000-000000000001', 'text ' || i, now() - (40 - i) * interval '1 minute' from (select distinct thread_id from thread_members) t, generate_series(1, 12) i;
insert into deliveries (user_id, message_id) select t.user_id, m.id from messages m join thread_members t using (thread_id);
update thread_members t set messages = 12, last_message_id = (select m.id from messages m where m.thread_id = t.thread_id order by sent_at desc limit 1);
insert into reactions (message_id, user_id, emoji) select id, author_id, '+1' from messages where body like '%3';
insert into files (object_key) select 'f' || i from generate_series(1, 4) i;
insert into message_files (message_id, file_id) select m.id, f.id from messages m, files f where m.body like '%5' or (m.body like '%8' and f.object_key = 'f1');
insert into bookmarks (user_id, message_id) select author_id, id from messages where body = 'text 7';
