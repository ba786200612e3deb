-- Tables of the shape of MongooseIM's archives and inbox, with what three users of two hosts have: for the tests.
create type mam_direction as enum ('I', 'O');
create table mam_server_user (id serial unique primary key, server varchar(250) not null, user_name varchar(250) not null);
create unique index i_mam_server_user_name on mam_server_user (server, user_name);
create table mam_message (
  id bigint not null, user_id int not null, from_jid varchar(250) not null, remote_bare_jid varchar(250) not null, remote_resource varchar(250) not null,
  direction mam_direction not null, message bytea not null, search_body text, origin_id varchar, is_groupchat boolean not null, primary key (user_id, id));
create index i_mam_message_username_jid_id on mam_message (user_id, remote_bare_jid, id);
create index i_mam_message_username_jid_origin_id on mam_message (user_id, remote_bare_jid, origin_id);
create table mam_muc_message (
  id bigint not null, room_id int not null, sender_id int not null, nick_name varchar(250) not null, message bytea not null, search_body text, origin_id varchar,
  primary key (room_id, id));
create table inbox (
  luser varchar(250) not null, lserver varchar(250) not null, remote_bare_jid varchar(250) not null, msg_id varchar(250), box varchar(64) not null default 'inbox',
  content bytea not null, timestamp bigint not null, muted_until bigint default 0, unread_count int not null, primary key (lserver, luser, remote_bare_jid));
create index i_inbox_timestamp on inbox (lserver, luser, timestamp);
create index i_inbox_us_box on inbox (lserver, luser, box);

insert into mam_server_user (server, user_name) select host, name from unnest(array['example.com', 'example.org']) host, unnest(array['alice', 'bob', 'carol']) name;
insert into mam_server_user (server, user_name) values ('muclight.example.com', 'team');
insert into mam_message (id, user_id, from_jid, remote_bare_jid, remote_resource, direction, message, search_body, is_groupchat)
select (extract(epoch from now() - (40 - i) * interval '1 minute' + n * interval '1 second') * 1000000)::bigint * 256 + 1, u.id, peer || '@example.com/phone', peer || '@example.com',
  'phone', 'I', '\x83', 'text ' || i, false
from mam_server_user u, unnest(array['alice', 'bob', 'carol']) with ordinality p (peer, n), generate_series(1, 12) i where u.user_name <> 'team';
insert into mam_muc_message (id, room_id, sender_id, nick_name, message)
select (extract(epoch from now() - (40 - i) * interval '1 minute') * 1000000)::bigint * 256 + 1, 7, 1 + i % 3, 'nick', '\x83' from generate_series(1, 12) i;
insert into inbox (luser, lserver, remote_bare_jid, msg_id, content, timestamp, unread_count)
select u.user_name, u.server, m.remote_bare_jid, max(m.id)::text, '\x83'::bytea, max(m.id) / 256, 9 from mam_message m join mam_server_user u on u.id = m.user_id group by 1, 2, 3
union all select user_name, server, 'team@muclight.example.com', 'x', '\x83', 1, 3 from mam_server_user where server = 'example.com';
