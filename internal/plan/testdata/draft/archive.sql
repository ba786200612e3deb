-- An XMPP archive: no table of conversations, times as numbers, hosts.
create table archive (username text not null, server_host text not null, timestamp bigint not null, peer text not null, bare_peer text not null, xml text not null, id bigserial, kind text, created_at timestamp not null default now());
create index on archive (server_host, username, timestamp);
create index on archive (server_host, username, bare_peer);
create table spool (username text not null, server_host text not null, xml text not null, seq bigserial);
