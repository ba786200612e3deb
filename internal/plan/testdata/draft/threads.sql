-- A row for each conversation of each owner, whose key is the owner and an id.
create table threads (owner text not null, id text not null, unread integer not null default 0, primary key (owner, id));
create table posts (id bigint primary key generated always as identity, owner text not null, thread text not null, sender text not null, body text not null,
  created timestamptz not null default now(), foreign key (owner, thread) references threads);
create index on posts (owner, thread, id);
create table attachments (id bigint primary key generated always as identity, post_id bigint not null references posts, url text not null);
create index on attachments (post_id);
