-- A help desk: one log for each conversation, for agents and contact.
create table conversations (id serial primary key, account_id int not null, inbox_id int not null);
create table messages (id serial primary key, content text, account_id int not null, inbox_id int not null, conversation_id int not null, created_at timestamp not null, sender_type varchar, sender_id bigint);
create index on messages (conversation_id, account_id, created_at);
create table attachments (id serial primary key, message_id int not null, account_id int not null);
create table mentions (id serial primary key, user_id bigint not null, conversation_id bigint not null, account_id int not null, unique (user_id, conversation_id));
