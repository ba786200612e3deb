-- No table of messages.
create table accounts (id bigserial primary key, name text);
create table entries (id bigserial primary key, owner text not null, body text);
