create schema layout;
create function layout.say(text, text, text, n int, first timestamptz, every interval, "row" boolean) returns void language plpgsql as $$
declare ids bigint[]; mine bigint;
begin
	if "row" then
		insert into participants as p (user_id, conversation_id, unread_count) values ($2::bigint, $3::bigint, n)
		on conflict (conversation_id, user_id) do update set unread_count = p.unread_count + n returning id into mine;
	else
		select id into mine from participants where (user_id, conversation_id) = ($2::bigint, $3::bigint) for key share;
	end if;
	with m as (insert into messages (participant_id, sender_id, body) select mine, 7, 'text ' || i from generate_series(0, n - 1) i returning id)
	select array_agg(id order by id) into ids from m;
	insert into media (model_type, model_id, file_name) select t, id, 'a.png' from unnest(ids) id, unnest(array['App\Models\Message', 'App\Models\Post']) t where id % 3 = 0;
end $$;
create function layout.seqs(text, text, text) returns setof bigint language sql as $$
	select m.id from messages m join participants p on p.id = m.participant_id where (p.user_id, p.conversation_id) = ($2::bigint, $3::bigint) order by 1;
$$;
create function layout.hold(text, text, text, nth int) returns void language sql as $$
	select from messages where id = (select layout.seqs($1, $2, $3) offset nth limit 1) for update;
$$;
create function layout.forget(text, text, text, through bigint) returns void language plpgsql as $$
declare ids bigint[] := array(select id from layout.seqs($1, $2, $3) id where id <= through);
begin
	delete from media where model_type = 'App\Models\Message' and model_id = any (ids);
	delete from messages where id = any (ids);
end $$;
create function layout.leave(text, text, text, through bigint) returns void language plpgsql as $$
declare newer int := (select count(*) from layout.seqs($1, $2, $3) id where id > through);
begin
	delete from participants where (user_id, conversation_id) = ($2::bigint, $3::bigint) and newer = 0;
	update participants set unread_count = least(unread_count, newer) where (user_id, conversation_id) = ($2::bigint, $3::bigint);
end $$;
