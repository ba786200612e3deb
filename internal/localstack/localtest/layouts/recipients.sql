create schema layout;
create function layout.us(timestamptz) returns bigint language sql immutable as $$ select (extract(epoch from $1) * 1000000)::bigint $$;
create function layout.say(text, text, text, n int, first timestamptz, every interval, "row" boolean) returns void language plpgsql as $$
declare ids uuid[]; file uuid;
begin
	insert into files (object_key) select gen_random_uuid()::text returning id into file;
	with m as (insert into messages (thread_id, author_id, body, sent_at) select $3::uuid, $2::uuid, 'text ' || i, first + i * every from generate_series(0, n - 1) i returning id, sent_at)
	select array_agg(id order by sent_at) into ids from m;
	insert into deliveries (user_id, message_id) select t.user_id, m from unnest(ids) m, thread_members t where t.thread_id = $3::uuid;
	insert into reactions (message_id, user_id, emoji) select m, $2::uuid, '+1' from unnest(ids) with ordinality i (m, n) where i.n % 4 = 0;
	insert into message_files (message_id, file_id) select m, file from unnest(ids) with ordinality i (m, n) where i.n % 5 = 1;
	insert into bookmarks (user_id, message_id) select $2::uuid, m from unnest(ids) with ordinality i (m, n) where i.n % 50 = 7;
	if "row" then
		update thread_members set unread = unread + n, messages = messages + n, last_message_id = ids[cardinality(ids)] where thread_id = $3::uuid;
	end if;
end $$;
create function layout.seqs(text, text, text) returns setof bigint language sql as $$
	select layout.us(m.sent_at) from deliveries d join messages m on m.id = d.message_id where d.user_id = $2::uuid and m.thread_id = $3::uuid order by 1;
$$;
create function layout.hold(text, text, text, nth int) returns void language sql as $$
	select from deliveries where user_id = $2::uuid and message_id =
		(select m.id from deliveries d join messages m on m.id = d.message_id where d.user_id = $2::uuid and m.thread_id = $3::uuid order by m.sent_at offset nth limit 1) for update;
$$;
create function layout.forget(text, text, text, through bigint) returns void language plpgsql as $$
declare ids uuid[]; linked uuid[];
begin
	with gone as (delete from deliveries d using messages m where m.id = d.message_id and d.user_id = $2::uuid and m.thread_id = $3::uuid and layout.us(m.sent_at) <= through
		returning d.message_id)
	select array_agg(message_id) into ids from gone;
	ids := array(select unnest(ids) except select message_id from deliveries except select message_id from bookmarks);
	delete from reactions where message_id = any (ids);
	with gone as (delete from message_files where message_id = any (ids) returning file_id) select array_agg(file_id) into linked from gone;
	linked := array(select unnest(linked) except select file_id from message_files);
	delete from files where id = any (linked);
	delete from messages where id = any (ids);
end $$;
create function layout.leave(text, text, text, through bigint) returns void language plpgsql as $$
declare newer int; total int; newest uuid;
begin
	select count(*) filter (where layout.us(m.sent_at) > through), count(*), (array_agg(m.id order by m.sent_at desc))[1] into newer, total, newest
	from deliveries d join messages m on m.id = d.message_id where d.user_id = $2::uuid and m.thread_id = $3::uuid;
	update thread_members set unread = least(unread, newer), messages = total, last_message_id = newest where user_id = $2::uuid and thread_id = $3::uuid;
end $$;
create function layout.give(text, text, text) returns void language sql as $$
	insert into deliveries (user_id, message_id) select $2::uuid, id from messages where thread_id = $3::uuid order by random() limit 1 on conflict do nothing;
$$;
create function layout.take(text, text, text) returns void language plpgsql as $$
declare message uuid := (select m.id from deliveries d join messages m on m.id = d.message_id where d.user_id = $2::uuid and m.thread_id = $3::uuid order by random() limit 1);
begin
	if message is null then return; end if;
	perform from messages where id = message for update;
	delete from deliveries where user_id = $2::uuid and message_id = message;
	if not exists (select from deliveries where message_id = message) and not exists (select from bookmarks where message_id = message) then
		insert into deliveries (user_id, message_id) values ($2::uuid, message); -- the last one is the worker's to take
	end if;
end $$;
create function layout.orphans() returns setof text language sql as $$
	select 'message ' || id from messages m where not exists (select from deliveries d where d.message_id = m.id) and not exists (select from bookmarks b where b.message_id = m.id)
	union all select 'file ' || id from files f where not exists (select from message_files l where l.file_id = f.id);
$$;
