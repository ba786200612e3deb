-- Messages belong to the row that makes a user a participant, and their times may be null.
create table participants (id bigserial primary key, conversation_id bigint not null, user_id bigint not null, unread_count int not null default 0, unique (conversation_id, user_id));
create table messages (id bigserial primary key, participant_id bigint not null references participants on delete cascade, sender_id bigint not null, body text not null, created_at timestamp(0));
create index on messages (participant_id, id);
create table media (id bigserial primary key, model_type varchar not null, model_id bigint not null);
create index on media (model_type, model_id);
