-- Copies in a database of several tenants: each key and each reference begins with the tenant's.
create table users (tenant_id bigint not null, id bigint not null, name text not null, primary key (tenant_id, id));
create table attachments (tenant_id bigint not null, id bigint not null, path text not null, primary key (tenant_id, id));
create table messages (
  tenant_id bigint not null, user_id bigint not null, conversation_id bigint not null, id bigint not null,
  body text not null, attachment_id bigint, created_at timestamptz not null,
  primary key (tenant_id, id),
  foreign key (tenant_id, user_id) references users, foreign key (tenant_id, attachment_id) references attachments);
create index on messages (tenant_id, user_id, conversation_id, id);
create index on messages (tenant_id, attachment_id);
create table reactions (tenant_id bigint not null, message_id bigint not null, emoji text not null, foreign key (tenant_id, message_id) references messages);
create index on reactions (tenant_id, message_id);
create table pins (tenant_id bigint not null, title text not null, message_id bigint, foreign key (tenant_id, message_id) references messages);
create index on pins (tenant_id, message_id);
create table conversations (tenant_id bigint not null, user_id bigint not null, id bigint not null, unread_count integer not null default 0, primary key (tenant_id, user_id, id));
