-- Users by number, found by host and name; an inbox by name; a log of rooms beside it.
create table mam_server_user (id serial primary key, server varchar(250) not null, user_name varchar(250) not null, unique (server, user_name));
create table mam_message (id bigint not null, user_id int not null, from_jid varchar(250) not null, remote_bare_jid varchar(250) not null, message bytea not null, primary key (user_id, id));
create index on mam_message (user_id, remote_bare_jid, id);
create table mam_muc_message (id bigint not null, room_id int not null, sender_id int not null, message bytea not null, primary key (room_id, id));
create table inbox (luser varchar(250) not null, lserver varchar(250) not null, remote_bare_jid varchar(250) not null, content bytea not null, timestamp bigint not null, unread_count int not null, primary key (lserver, luser, remote_bare_jid));
