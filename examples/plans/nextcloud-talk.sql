-- Tables of the shape of Nextcloud Talk's, with what three users have of three rooms: for the tests.
create table oc_talk_rooms (id bigserial primary key, name varchar(255), token varchar(32) not null unique, type integer not null, last_message bigint default 0);
create table oc_talk_attendees (
  id bigserial primary key, room_id bigint not null, actor_type varchar(32) not null, actor_id varchar(255) not null, participant_type smallint not null default 0, last_read_message bigint default 0,
  last_mention_message bigint default 0);
create unique index ta_ident on oc_talk_attendees (room_id, actor_type, actor_id);
create index ta_room on oc_talk_attendees (room_id);
create index ta_actor on oc_talk_attendees (actor_type, actor_id);
create table oc_comments (
  id bigserial primary key, parent_id bigint not null default 0, actor_type varchar(64) not null default '', actor_id varchar(64) not null default '', message text, verb varchar(64),
  creation_timestamp timestamp(0), object_type varchar(64) not null default '', object_id varchar(64) not null default '');
create index comments_parent_id_index on oc_comments (parent_id);
create index comments_object_index on oc_comments (object_type, object_id, creation_timestamp);
create index comments_actor_index on oc_comments (actor_type, actor_id);
create table oc_reactions (
  id bigserial primary key, parent_id bigint not null, message_id bigint not null, actor_type varchar(64) not null default '', actor_id varchar(64) not null default '', reaction varchar(32) not null);
create index comment_reaction_parent_id on oc_reactions (parent_id);
create unique index comment_reaction_unique on oc_reactions (parent_id, actor_type, actor_id, reaction);

insert into oc_talk_rooms (name, token, type) values ('one', 'tok1', 1), ('two', 'tok2', 1), ('all', 'tok3', 2);
insert into oc_talk_attendees (room_id, actor_type, actor_id)
values (1, 'users', 'alice'), (1, 'users', 'bob'), (2, 'users', 'alice'), (2, 'users', 'carol'), (3, 'users', 'alice'), (3, 'users', 'bob'), (3, 'users', 'carol'), (3, 'groups', 'alice'), (3, 'guests', 'bob');
insert into oc_comments (actor_type, actor_id, message, verb, creation_timestamp, object_type, object_id)
select 'users', (array['alice', 'bob', 'carol'])[1 + i % 3], 'text ' || i, 'comment', (now() at time zone 'UTC') - (40 - i) * interval '1 minute', t, r
from generate_series(1, 3) r, generate_series(1, 12) i, unnest(array['chat', 'files']) t order by i, t, r;
insert into oc_reactions (parent_id, message_id, actor_type, actor_id, reaction) select id, id, 'users', 'bob', '+' from oc_comments where id % 5 = 0;
