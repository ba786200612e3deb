create schema layout;
create function layout.seqs(text, text, text) returns setof bigint language sql as $$
	select id from messages where conversation_id = $3::bigint order by 1;
$$;
create function layout.hide(text, text, text, through bigint) returns void language sql as $$
	update participants p set cleared_message_id = greatest(cleared_message_id, through),
		unread_count = least(unread_count, (select count(*) from messages m where m.conversation_id = p.conversation_id and m.id > greatest(cleared_message_id, through)))
	where (user_id, conversation_id) = ($2::bigint, $3::bigint);
$$;
create function layout.forget(text, text, text, through bigint) returns void language plpgsql as $$
declare ids bigint[] := array(select id from layout.seqs($1, $2, $3) id where id <= through);
begin
	delete from attachments where message_id = any (ids);
	delete from read_receipts where message_id = any (ids);
	update messages set reply_to_id = null where reply_to_id = any (ids);
	delete from messages where id = any (ids);
end $$;
create function layout.leave(text, text, text, through bigint) returns void language sql as $$
	update conversations set messages_count = (select count(*) from layout.seqs($1, $2, $3)), last_message_id = (select max(id) from layout.seqs($1, $2, $3) id)
	where id = $3::bigint;
$$;
