create schema layout;
create function layout.seqs(text, text, text) returns setof bigint language sql as $$
	select id from messages where (account_id, conversation_id) = ($1::int, $3::int) order by 1;
$$;
create function layout.hide(text, text, text, through bigint) returns void language sql as $$
	select;
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
	declare gone int := (select id from conversations where (account_id, id) = ($1::int, $3::int) and not exists (select from layout.seqs($1, $2, $3) id where id > through));
begin
	delete from mentions where conversation_id = gone;
	delete from conversation_participants where conversation_id = gone;
	delete from notifications where primary_actor_type = 'Conversation' and primary_actor_id = gone;
	delete from taggings where taggable_type = 'Conversation' and taggable_id = gone;
	delete from conversations where id = gone;
end
$$;
