create schema layout;
create function layout.seqs(text, text, text) returns setof bigint language sql as $$
	select (extract(epoch from created_at) * 1000000)::bigint from room_messages where room_id = $3::uuid order by 1;
$$;
create function layout.hide(text, text, text, through bigint) returns void language sql as $$
	select;
$$;
create function layout.forget(text, text, text, through bigint) returns void language plpgsql as $$
declare ids uuid[] := array(select id from room_messages where room_id = $3::uuid and (extract(epoch from created_at) * 1000000)::bigint <= through);
begin
	delete from room_attachments where message_id = any (ids);
	delete from room_messages where id = any (ids);
end $$;
create function layout.leave(text, text, text, through bigint) returns void language sql as $$
	update rooms set last_message_at = (select max(created_at) from room_messages where room_id = $3::uuid) where id = $3::uuid;
$$;
