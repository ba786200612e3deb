-- No table of messages.
create table accounts (id bigserial primary key, name text);
