-- Tables as a Laravel team writes them for copies, with what three users have of three conversations: for the tests.
create table participants (
  id bigserial primary key, conversation_id bigint not null, user_id bigint not null, unread_count integer not null default 0, created_at timestamp(0), updated_at timestamp(0),
  constraint participants_conversation_id_user_id_unique unique (conversation_id, user_id));
create table messages (
  id bigserial primary key, participant_id bigint not null, sender_id bigint not null, body text not null, created_at timestamp(0), updated_at timestamp(0),
  constraint messages_participant_id_foreign foreign key (participant_id) references participants (id) on delete cascade);
create index messages_participant_id_id_index on messages (participant_id, id);
create table media (id bigserial primary key, model_type varchar(255) not null, model_id bigint not null, file_name varchar(255) not null);
create index media_model_type_model_id_index on media (model_type, model_id);

insert into participants (conversation_id, user_id, unread_count) select c, u, 9 from generate_series(1, 3) c, generate_series(1, 3) u;
insert into messages (participant_id, sender_id, body, created_at)
select p.id, 1 + i % 3, 'text ' || i, now() - (40 - i) * interval '1 minute' from participants p, generate_series(1, 12) i order by i, p.id;
insert into media (model_type, model_id, file_name) select t, id, 'a.png' from messages, unnest(array['App\Models\Message', 'App\Models\Post']) t where id % 3 = 0;
