-- The table of Prosody's archives, with what three users and a room have: for the tests.
create table prosodyarchive (
  sort_id bigserial primary key, host text not null, "user" text not null, store text not null, key text not null, "when" integer not null, "with" text not null,
  type text not null, value text not null);
create unique index prosodyarchive_index on prosodyarchive (host, "user", store, key);
create index prosodyarchive_with_when on prosodyarchive (host, "user", store, "with", "when");
create index prosodyarchive_when on prosodyarchive (host, "user", store, "when");
create index prosodyarchive_sort on prosodyarchive (host, "user", store, sort_id);

insert into prosodyarchive (host, "user", store, key, "when", "with", type, value)
select host, owner, 'archive', gen_random_uuid()::text, floor(extract(epoch from now() - (40 - i) * interval '1 minute'))::int, peer || '@example.com', 'xml', '<message/>'
from unnest(array['example.com', 'example.org']) host, unnest(array['alice', 'bob', 'carol']) owner, unnest(array['alice', 'bob', 'carol']) peer, generate_series(1, 12) i;
insert into prosodyarchive (host, "user", store, key, "when", "with", type, value) -- other stores, with the very same keys
select 'example.com', owner, store, key, floor(extract(epoch from now()))::int - 3000, peer || '@example.com', 'xml', '<item/>'
from unnest(array['alice', 'bob', 'carol']) owner, unnest(array['alice', 'bob', 'carol']) peer,
  (values ('pep_eu.siacs.conversations.axolotl.devicelist', 'current'), ('pep_urn:xmpp:avatar:data', 'a1'), ('pep_urn:xmpp:bookmarks:1', 'team'), ('offline', 'o1')) v (store, key)
where owner = peer;
insert into prosodyarchive (host, "user", store, key, "when", "with", type, value)
select 'conference.example.com', 'team', 'muc_log', gen_random_uuid()::text, floor(extract(epoch from now()))::int - 3000 + i, 'message<groupchat', 'xml', '<message/>'
from generate_series(1, 12) i;
