-- Tables of the shape of Mattermost's, with what three users have of three channels: for the tests.
create table channels (id varchar(26) primary key, createat bigint, deleteat bigint, type varchar(1), name varchar(64), lastpostat bigint, totalmsgcount bigint);
create table channelmembers (
  channelid varchar(26) not null, userid varchar(26) not null, lastviewedat bigint, msgcount bigint, mentioncount bigint, lastupdateat bigint, primary key (channelid, userid));
create index idx_channelmembers_user_id_channel_id_last_viewed_at on channelmembers (userid, channelid, lastviewedat);
create table posts (
  id varchar(26) primary key, createat bigint not null, updateat bigint, deleteat bigint, userid varchar(26), channelid varchar(26), rootid varchar(26), message varchar(65535), type varchar(26),
  fileids varchar(300));
create index idx_posts_channel_id_update_at on posts (channelid, updateat);
create index idx_posts_channel_id_delete_at_create_at on posts (channelid, deleteat, createat);
create table reactions (userid varchar(26) not null, postid varchar(26) not null, emojiname varchar(64) not null, createat bigint, primary key (postid, userid, emojiname));
create table fileinfo (id varchar(26) primary key, creatorid varchar(26), postid varchar(26), createat bigint, path varchar(512));
create index idx_fileinfo_postid_at on fileinfo (postid);
create table threads (postid varchar(26) primary key, replycount bigint, lastreplyat bigint, participants jsonb, channelid varchar(26));
create table threadmemberships (postid varchar(26) not null, userid varchar(26) not null, following boolean, lastviewed bigint, primary key (postid, userid));

insert into channels select c, 1, 0, 'P', c, 1, 12 from unnest(array['one', 'two', 'all']) c;
insert into channelmembers (channelid, userid, msgcount, mentioncount) select c, u, 7, 3 from (values ('one', 'alice'), ('one', 'bob'), ('two', 'alice'), ('two', 'carol'), ('all', 'alice'), ('all', 'bob'), ('all', 'carol')) v (c, u);
insert into posts (id, createat, updateat, deleteat, userid, channelid, rootid, message, type)
select left(md5(id || i), 26), ms, ms, 0, (array['alice', 'bob', 'carol'])[1 + i % 3], id, '', 'text ' || i, ''
from channels, generate_series(1, 12) i, lateral (select (extract(epoch from now() - (40 - i) * interval '1 minute') * 1000)::bigint as ms) t;
insert into reactions select 'bob', id, '+1', createat from posts where message like '%5';
insert into fileinfo select 'f' || left(id, 25), userid, id, createat, '2026/' || id from posts where message like '%0';
insert into threads select id, 1, createat, '[]', channelid from posts where message like '%3';
insert into threadmemberships select postid, 'alice', true, 0 from threads;
