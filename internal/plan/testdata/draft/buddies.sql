-- Unusual words, no time but a Snowflake, and mentions whose own key stands beside a type.
create table tig_ma_msgs (owner_id bigint not null, buddy_id bigint not null, id bigint not null unique, stanza text, primary key (owner_id, buddy_id, id));
create table tig_mentions (id bigserial primary key, type text not null, msg_id bigint not null);
create table device_inbox (user_id text not null, rid text not null, stream_id bigint not null, message_json text not null);
