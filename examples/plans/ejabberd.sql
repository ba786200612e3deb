-- Tables of the shape of ejabberd's archive and offline messages, with what three users of two hosts have: for the tests.
create table archive (
  username text not null, server_host text not null, timestamp bigint not null, peer text not null, bare_peer text not null, xml text not null, txt text,
  id bigserial, kind text, nick text, origin_id text, created_at timestamp not null default now());
create index i_archive_sh_username_timestamp on archive (server_host, username, timestamp);
create index i_archive_sh_username_peer on archive (server_host, username, peer);
create index i_archive_sh_username_bare_peer on archive (server_host, username, bare_peer);
create index i_archive_sh_timestamp on archive (server_host, timestamp);
create index i_archive_sh_username_origin_id on archive (server_host, username, origin_id);
create table spool (username text not null, server_host text not null, xml text not null, seq bigserial, created_at timestamp not null default now());
create index i_spool_sh_username on spool (server_host, username);

insert into archive (username, server_host, timestamp, peer, bare_peer, xml, txt, kind, nick)
select owner, host, (extract(epoch from now() - (40 - i) * interval '1 minute') * 1000000)::bigint, peer || '@example.com/phone', peer || '@example.com',
  '<message/>', 'text ' || i, 'chat', ''
from unnest(array['example.com', 'example.org']) host, unnest(array['alice', 'bob', 'carol']) owner, unnest(array['alice', 'bob', 'carol']) peer, generate_series(1, 12) i;
insert into archive (username, server_host, timestamp, peer, bare_peer, xml, txt, kind, nick) -- a room's, under the room's name
select 'team@conference.example.com', 'example.com', (extract(epoch from now() - (40 - i) * interval '1 minute') * 1000000)::bigint, 'bob@example.com/phone',
  'bob@example.com', '<message/>', 'text ' || i, 'groupchat', 'bob'
from generate_series(1, 12) i;
insert into spool (username, server_host, xml) select owner, 'example.com', '<message from="bob@example.com"/>' from unnest(array['alice', 'bob']) owner;
