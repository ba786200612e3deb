-- Tables that look nothing like the bundled ones: other names, in mixed case; numbers and UUIDs for
-- keys; no app; a surrogate key for the messages, with foreign keys to it and to the natural key, and
-- a reference without one.
create schema social;
create table social."Post" (
	id bigint generated always as identity primary key,
	owner bigint not null,
	thread uuid not null,
	position int not null,
	"sent.at" timestamp not null,
	body text not null default '',
	unique (thread, owner, position));
create table social.likes (
	post_id bigint not null references social."Post" on delete cascade,
	liker text not null,
	primary key (post_id, liker));
create table social.files (
	thread uuid, owner bigint, position int, name varchar(100),
	primary key (owner, thread, position, name),
	foreign key (owner, thread, position) references social."Post" (owner, thread, position));
create table social.mentions (id serial primary key, post int not null, who text not null);
create index on social.mentions (post);
create table social.thread_members (
	member varchar(40) not null,
	thread uuid not null,
	unseen smallint not null default 0,
	primary key (thread, member));
