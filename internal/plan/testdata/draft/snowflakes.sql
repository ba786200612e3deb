-- Positions that are keys only with the owner and the channel, and rows that have all three without a foreign key.
create table messages (owner_id bigint not null, channel_id bigint not null, id bigint not null, content text, created_at timestamptz not null default now(), primary key (owner_id, channel_id, id));
create table reactions (owner_id bigint not null, channel_id bigint not null, message_id bigint not null, emoji text not null, primary key (owner_id, channel_id, message_id, emoji));
