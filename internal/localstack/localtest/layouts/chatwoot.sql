create schema layout;
create function layout.say(text, text, text, n int, first timestamptz, every interval, "row" boolean) returns void language plpgsql as $$
declare ids int[]; files int[];
begin
	if "row" then
		insert into conversations (id, account_id, inbox_id, display_id, created_at) values ($3::int, $1::int, $2::int, 0, first at time zone 'UTC') on conflict (id) do nothing;
		if found then
			insert into mentions (user_id, conversation_id, account_id) values (7, $3::int, $1::int) on conflict do nothing;
			insert into taggings (tag_id, taggable_type, taggable_id, context) values (1, 'Conversation', $3::int, 'labels');
		end if;
	end if;
	with m as (insert into messages (content, account_id, inbox_id, conversation_id, message_type, created_at, updated_at)
		select 'text ' || i, $1::int, $2::int, $3::int, i % 2, first at time zone 'UTC' + i * every, now() at time zone 'UTC' from generate_series(0, n - 1) i returning id)
	select array_agg(id order by id) into ids from m;
	with a as (insert into attachments (message_id, account_id) select id, $1::int from unnest(ids) id where id % 3 = 0 returning id)
	select array_agg(id) into files from a;
	insert into active_storage_blobs (key, filename) select 'said' || id, 'a.png' from unnest(files) id;
	insert into active_storage_attachments (name, record_type, record_id, blob_id)
	select 'file', t, a, b.id from unnest(files) a join active_storage_blobs b on b.key = 'said' || a, unnest(array['Attachment', 'Contact']) t;
	insert into csat_survey_responses (account_id, conversation_id, message_id, rating) select $1::int, $3::int, id, 5 from unnest(ids) id where id % 20 = 0;
end $$;
create function layout.seqs(text, text, text) returns setof bigint language sql as $$
	select id from messages where (account_id, inbox_id, conversation_id) = ($1::int, $2::int, $3::int) order by 1;
$$;
create function layout.hold(text, text, text, nth int) returns void language sql as $$
	select from messages where id = (select layout.seqs($1, $2, $3) offset nth limit 1) for update;
$$;
create function layout.forget(text, text, text, through bigint) returns void language plpgsql as $$
declare ids int[] := array(select id from layout.seqs($1, $2, $3) id where id <= through);
begin
	delete from active_storage_attachments s using attachments a where s.record_type = 'Attachment' and s.record_id = a.id and a.message_id = any (ids);
	delete from attachments where message_id = any (ids);
	delete from csat_survey_responses where message_id = any (ids);
	delete from messages where id = any (ids);
end $$;
create function layout.leave(text, text, text, through bigint) returns void language plpgsql as $$
declare gone int := (select id from conversations where (account_id, inbox_id, id) = ($1::int, $2::int, $3::int) and not exists (select from layout.seqs($1, $2, $3) id where id > through) limit 1);
begin
	delete from mentions where conversation_id = gone;
	delete from conversation_participants where conversation_id = gone;
	delete from notifications where primary_actor_type = 'Conversation' and primary_actor_id = gone;
	delete from taggings where taggable_type = 'Conversation' and taggable_id = gone;
	delete from conversations where id = gone;
end $$;
