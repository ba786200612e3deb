create schema layout;
create function layout.say(text, text, text, n int, first timestamptz, every interval, "row" boolean) returns void language plpgsql as $$
declare ids bigint[]; last bigint;
begin
	select max(id) into last from messages where (user_id, room_id) = ($2::bigint, $3::uuid);
	with m as (insert into messages (user_id, room_id, author_id, body, created_at, reply_to_id)
		select $2::bigint, $3::uuid, 7, 'text ' || i, first at time zone 'UTC' + i * every, case when i % 4 = 0 then last end from generate_series(0, n - 1) i returning id)
	select array_agg(id order by id) into ids from m;
	insert into attachments (message_id, object_key) select id, 's3://bucket/' || id from unnest(ids) id where id % 5 = 0;
	insert into reactions (message_id, user_id, emoji) select id, u, '+1' from unnest(ids) id, generate_series(1, 2) u where id % 3 = 0;
	insert into pins (user_id, message_id, note) select $2::bigint, id, 'note' from unnest(ids) id where id % 6 = 0;
	if "row" then
		insert into mailboxes as b (user_id, room_id, title, draft, unread_count, messages_count, last_message_id) values ($2::bigint, $3::uuid, 'room', 'draft', n, n, ids[n])
		on conflict (user_id, room_id) do update
		set unread_count = b.unread_count + n, messages_count = b.messages_count + n, last_message_id = excluded.last_message_id, draft = 'draft';
	end if;
end $$;
create function layout.seqs(text, text, text) returns setof bigint language sql as $$
	select id from messages where (user_id, room_id) = ($2::bigint, $3::uuid) order by 1;
$$;
create function layout.hold(text, text, text, nth int) returns void language sql as $$
	select from messages where id = (select id from messages where (user_id, room_id) = ($2::bigint, $3::uuid) order by id offset nth limit 1) for update;
$$;
create function layout.forget(text, text, text, through bigint) returns void language plpgsql as $$
declare ids bigint[] := array(select id from messages where (user_id, room_id) = ($2::bigint, $3::uuid) and id <= through);
begin
	delete from attachments where message_id = any (ids);
	delete from reactions where message_id = any (ids);
	update pins set message_id = null where message_id = any (ids);
	update messages set reply_to_id = null where reply_to_id = any (ids);
	delete from messages where id = any (ids);
end $$;
create function layout.leave(text, text, text, through bigint) returns void language plpgsql as $$
declare newer int; total int; newest bigint;
begin
	select count(*) filter (where id > through), count(*), max(id) into newer, total, newest from messages where (user_id, room_id) = ($2::bigint, $3::uuid);
	if newer = 0 then
		delete from mailboxes where (user_id, room_id) = ($2::bigint, $3::uuid);
	else
		update mailboxes set unread_count = least(unread_count, newer), messages_count = total, last_message_id = newest, draft = null
		where (user_id, room_id) = ($2::bigint, $3::uuid);
	end if;
end $$;
