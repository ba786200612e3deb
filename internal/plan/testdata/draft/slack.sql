-- The position is text, so there is none yet.
create table messages (user_id text not null, channel text not null, ts text not null, msg text, primary key (user_id, channel, ts));
