create schema layout;
create function layout.say(text, text, text, n int, first timestamptz, every interval, "row" boolean) returns void language plpgsql as $$
declare ids bigint[]; owner int := (select id from auth_user where username = $2);
begin
	with m as (insert into chat_message (owner_id, room_id, sender_id, text, sent_at)
		select owner, $3::bigint, 1, 'text ' || i, first + i * every from generate_series(0, n - 1) i returning id)
	select array_agg(id order by id) into ids from m;
	insert into chat_attachment (message_id, file) select id, 'chat/' || id from unnest(ids) id where id % 5 = 0;
	insert into reactions_reaction (content_type_id, object_id, emoji) select t.id, m::text, '+1' from unnest(ids) m, django_content_type t where m % 3 = 0;
	if "row" then
		insert into chat_membership as b (user_id, room_id, unread_count) values (owner, $3::bigint, n)
		on conflict (user_id, room_id) do update set unread_count = b.unread_count + n;
	end if;
end $$;
create function layout.seqs(text, text, text) returns setof bigint language sql as $$
	select m.id from chat_message m join auth_user u on u.id = owner_id where username = $2 and room_id = $3::bigint order by 1;
$$;
create function layout.hold(text, text, text, nth int) returns void language sql as $$
	select from chat_message where id = (select layout.seqs($1, $2, $3) offset nth limit 1) for update;
$$;
create function layout.forget(text, text, text, through bigint) returns void language plpgsql as $$
declare ids bigint[] := array(select id from layout.seqs($1, $2, $3) id where id <= through);
begin
	delete from chat_attachment where message_id = any (ids);
	delete from reactions_reaction r using django_content_type t where t.id = r.content_type_id and t.app_label = 'chat' and t.model = 'message' and r.object_id = any (ids::text[]);
	delete from chat_message where id = any (ids);
end $$;
create function layout.leave(text, text, text, through bigint) returns void language plpgsql as $$
declare newer int := (select count(*) from layout.seqs($1, $2, $3) id where id > through);
begin
	delete from chat_membership b using auth_user u where u.id = b.user_id and u.username = $2 and b.room_id = $3::bigint and newer = 0;
	update chat_membership b set unread_count = least(unread_count, newer) from auth_user u where u.id = b.user_id and u.username = $2 and b.room_id = $3::bigint;
end $$;
