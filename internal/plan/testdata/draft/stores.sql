-- An XMPP archive that shares its table with other stores.
create table prosodyarchive (sort_id bigserial primary key, host text not null, "user" text not null, store text not null, key text not null, "when" integer not null, "with" text not null, value text not null);
create unique index on prosodyarchive (host, "user", store, key);
create index on prosodyarchive (host, "user", store, "with", "when");
create index on prosodyarchive (host, "user", store, sort_id);
