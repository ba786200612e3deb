-- Tables of the shape of Tinode's, with what three users have of three topics: for the tests.
create table users (id bigint primary key, state smallint not null default 0);
create table topics (
  id serial primary key, createdat timestamp(3) not null, touchedat timestamp(3), name varchar(25) not null, owner bigint not null default 0, seqid integer not null default 0, delid integer default 0);
create unique index topics_name on topics (name);
create table subscriptions (
  id serial primary key, createdat timestamp(3) not null, deletedat timestamp(3), userid bigint not null references users (id), topic varchar(25) not null, delid integer default 0,
  recvseqid integer default 0, readseqid integer default 0);
create unique index subscriptions_topic_userid on subscriptions (topic, userid);
create index subscriptions_topic on subscriptions (topic);
create index subscriptions_userid_topic_deletedat on subscriptions (userid, topic, deletedat);
create table messages (
  id serial primary key, createdat timestamp(3) not null, deletedat timestamp(3), delid integer default 0, seqid integer not null, topic varchar(25) not null references topics (name),
  "from" bigint not null, content json);
create unique index messages_topic_seqid on messages (topic, seqid);
create table reactions (
  id serial primary key, createdat timestamp(3) not null, topic varchar(25) not null references topics (name) on delete cascade, seqid integer not null, userid bigint not null, content varchar(32) not null);
create unique index reactions_topic_seqid_userid on reactions (topic, seqid, userid);
create table dellog (
  id serial primary key, topic varchar(25) not null references topics (name), deletedfor bigint not null default 0, delid integer not null, low integer not null, hi integer not null);
create index dellog_topic_delid_deletedfor on dellog (topic, delid, deletedfor);
create table fileuploads (id bigint primary key, location varchar(2048) not null);
create table filemsglinks (
  id serial primary key, fileid bigint not null references fileuploads (id) on delete cascade, msgid integer references messages (id) on delete cascade,
  topic varchar(25) references topics (name) on delete cascade, userid bigint references users (id) on delete cascade);

insert into users (id) values (1), (2), (3);
insert into topics (createdat, name, owner, seqid) select now() at time zone 'UTC', n, 1, 12 from unnest(array['p2pone', 'p2ptwo', 'grpall']) n;
insert into subscriptions (createdat, userid, topic)
select now() at time zone 'UTC', u, t from (values ('p2pone', 1), ('p2pone', 2), ('p2ptwo', 1), ('p2ptwo', 3), ('grpall', 1), ('grpall', 2), ('grpall', 3)) v (t, u);
insert into messages (createdat, seqid, topic, "from", content)
select (now() at time zone 'UTC') - (40 - i) * interval '1 minute', i, name, 1 + i % 3, '"text"' from topics, generate_series(1, 12) i;
insert into reactions (createdat, topic, seqid, userid, content) select createdat, topic, seqid, 2, '+1' from messages where seqid % 4 = 0;
insert into dellog (topic, deletedfor, delid, low, hi) values ('grpall', 2, 1, 1, 3);
insert into fileuploads select id, '/f/' || id from messages where seqid % 5 = 0;
insert into filemsglinks (fileid, msgid) select id, id from messages where seqid % 5 = 0;
