create schema layout;
create function layout.say(text, text, text, n int, first timestamptz, every interval, "row" boolean) returns void language plpgsql as $$
declare ids int[]; linked int[]; files int[]; realm int := (select id from zerver_realm where string_id = $1);
begin
	with m as (insert into zerver_message (sender_id, recipient_id, realm_id, subject, content, date_sent)
		select $2::int, $3::int, realm, E'\x07', 'text ' || i, first + i * every from generate_series(0, n - 1) i returning id)
	select array_agg(id order by id) into ids from m;
	insert into zerver_usermessage (user_profile_id, message_id) select s.user_profile_id, m from unnest(ids) m, zerver_subscription s where s.recipient_id = $3::int;
	insert into zerver_reaction (user_profile_id, message_id, emoji_name, reaction_type, emoji_code) select 1, m, 'smile', 'unicode_emoji', '1f642' from unnest(ids) m where m % 3 = 0;
	insert into zerver_submessage (message_id, msg_type, content) select m, 'widget', '{}' from unnest(ids) m where m % 10 = 0;
	insert into zerver_missedmessageemailaddress (message_id, user_profile_id, email_token) select m, 1, 'mm' || m from unnest(ids) m where m % 10 = 1;
	insert into zerver_scheduledmessagenotificationemail (message_id, user_profile_id, trigger) select m, 2, 'direct_message' from unnest(ids) m where m % 10 = 2;
	insert into zerver_scheduledmessage (sender_id, content, delivered, delivered_message_id) select 1, 'text', true, m from unnest(ids) m where m % 10 = 3;
	linked := array(select m from unnest(ids) m where m % 5 = 3 order by m);
	with a as (insert into zerver_attachment (file_name, path_id, owner_id, size)
		select 'a.png', gen_random_uuid()::text, 1, 10 from generate_series(1, (cardinality(linked) + 3) / 4) returning id)
	select array_agg(id) into files from a;
	insert into zerver_attachment_messages (attachment_id, message_id)
	select files[1 + (nth - 1) % cardinality(files)], m from unnest(linked) with ordinality l (m, nth);
	insert into zerver_attachment_scheduled_messages (attachment_id, scheduledmessage_id)
	select files[1 + (nth - 1) % cardinality(files)], s.id from unnest(linked) with ordinality l (m, nth) join zerver_scheduledmessage s on s.delivered_message_id = m;
end $$;
create function layout.seqs(text, text, text) returns setof bigint language sql as $$
	select m.id from zerver_usermessage u join zerver_message m on m.id = u.message_id join zerver_realm r on r.id = m.realm_id
	where r.string_id = $1 and u.user_profile_id = $2::int and m.recipient_id = $3::int order by 1;
$$;
create function layout.hold(text, text, text, nth int) returns void language sql as $$
	select from zerver_usermessage where user_profile_id = $2::int and message_id = (select layout.seqs($1, $2, $3) offset nth limit 1) for update;
$$;
create function layout.forget(text, text, text, through bigint) returns void language plpgsql as $$
declare ids int[] := array(select id from layout.seqs($1, $2, $3) id where id <= through); linked int[]; scheduled int[];
begin
	delete from zerver_usermessage where user_profile_id = $2::int and message_id = any (ids);
	ids := array(select unnest(ids) except select message_id from zerver_usermessage except select message_id from zerver_onboardingusermessage);
	delete from zerver_reaction where message_id = any (ids);
	delete from zerver_submessage where message_id = any (ids);
	delete from zerver_missedmessageemailaddress where message_id = any (ids);
	delete from zerver_scheduledmessagenotificationemail where message_id = any (ids);
	with gone as (delete from zerver_attachment_scheduled_messages l using zerver_scheduledmessage s
		where s.id = l.scheduledmessage_id and s.delivered_message_id = any (ids) returning l.attachment_id)
	select array_agg(attachment_id) into scheduled from gone;
	delete from zerver_scheduledmessage where delivered_message_id = any (ids);
	with gone as (delete from zerver_attachment_messages where message_id = any (ids) returning attachment_id) select array_agg(attachment_id) into linked from gone;
	linked := array(select unnest(linked || scheduled) except select attachment_id from zerver_attachment_messages except select attachment_id from zerver_attachment_scheduled_messages);
	delete from zerver_attachment where id = any (linked);
	delete from zerver_message where id = any (ids);
end $$;
create function layout.leave(text, text, text, through bigint) returns void language sql as $$
$$;
create function layout.give(text, text, text) returns void language sql as $$
	insert into zerver_usermessage (user_profile_id, message_id)
	select $2::int, m.id from zerver_message m join zerver_realm r on r.id = m.realm_id where r.string_id = $1 and m.recipient_id = $3::int order by random() limit 1
	on conflict do nothing;
$$;
create function layout.take(text, text, text) returns void language plpgsql as $$
declare message int := (select layout.seqs($1, $2, $3) id order by random() limit 1);
begin
	if message is null then return; end if;
	perform from zerver_message where id = message for update;
	delete from zerver_usermessage where user_profile_id = $2::int and message_id = message;
	if not exists (select from zerver_usermessage where message_id = message) and not exists (select from zerver_onboardingusermessage where message_id = message) then
		insert into zerver_usermessage (user_profile_id, message_id) values ($2::int, message); -- the last one is the worker's to take
	end if;
end $$;
create function layout.orphans() returns setof text language sql as $$
	select 'message ' || id from zerver_message m where not exists (select from zerver_usermessage u where u.message_id = m.id)
		and not exists (select from zerver_onboardingusermessage o where o.message_id = m.id)
	union all select 'attachment ' || id from zerver_attachment a where not exists (select from zerver_attachment_messages l where l.attachment_id = a.id)
		and not exists (select from zerver_attachment_scheduled_messages l where l.attachment_id = a.id) and file_name <> 'unclaimed';
$$;
