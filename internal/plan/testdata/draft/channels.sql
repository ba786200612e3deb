-- A log that members share, in which user_id is the sender, and an index has it beside the channel.
create table channels (id bigserial primary key, name text);
create table channel_members (channel_id bigint not null, user_id bigint not null, primary key (channel_id, user_id));
create table posts (id bigserial primary key, channel_id bigint not null, user_id bigint not null, message text not null, create_at bigint not null);
create index on posts (channel_id, user_id, id);
create table upload_references (id bigserial primary key, target_type varchar not null, target_id bigint not null);
