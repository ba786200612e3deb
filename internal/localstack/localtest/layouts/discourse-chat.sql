create schema layout;
create function layout.seqs(text, text, text) returns setof bigint language sql as $$
	select id from chat_messages where chat_channel_id = $3::bigint order by 1;
$$;
create function layout.hide(text, text, text, through bigint) returns void language sql as $$
	select;
$$;
create function layout.forget(text, text, text, through bigint) returns void language plpgsql as $$
declare ids bigint[] := array(select id from layout.seqs($1, $2, $3) id where id <= through);
begin
	delete from chat_message_reactions where chat_message_id = any (ids);
	delete from chat_mentions where chat_message_id = any (ids);
	delete from chat_message_revisions where chat_message_id = any (ids);
	delete from upload_references where target_type = 'ChatMessage' and target_id = any (ids);
	delete from chat_messages where id = any (ids);
end $$;
create function layout.leave(text, text, text, through bigint) returns void language sql as $$
	update chat_channels set messages_count = (select count(*) from layout.seqs($1, $2, $3)), last_message_id = (select max(id) from layout.seqs($1, $2, $3) id)
	where id = $3::bigint;
$$;
