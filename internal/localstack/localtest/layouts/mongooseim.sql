create schema layout;
create function layout.owner(text) returns int language sql as $$
	select id from mam_server_user where user_name || '@' || server = $1;
$$;
create function layout.say(text, text, text, n int, first timestamptz, every interval, "row" boolean) returns void language sql as $$
	insert into mam_message (id, user_id, from_jid, remote_bare_jid, remote_resource, direction, message, search_body, is_groupchat)
	select (extract(epoch from first + i * every) * 1000000)::bigint * 256 + 1, layout.owner($2), $3 || '/phone', $3, 'phone', 'I', '\x83', 'text ' || i, false
	from generate_series(0, n - 1) i;
	insert into inbox as b (luser, lserver, remote_bare_jid, msg_id, content, timestamp, unread_count)
	select split_part($2, '@', 1), split_part($2, '@', 2), $3, 'x', '\x83', 1, n where "row"
	on conflict (lserver, luser, remote_bare_jid) do update set unread_count = b.unread_count + excluded.unread_count;
$$;
create function layout.seqs(text, text, text) returns setof bigint language sql as $$
	select id from mam_message where user_id = layout.owner($2) and remote_bare_jid = $3 order by 1;
$$;
create function layout.hold(text, text, text, nth int) returns void language sql as $$
	select from mam_message where user_id = layout.owner($2) and id =
		(select id from mam_message where user_id = layout.owner($2) and remote_bare_jid = $3 order by id offset nth limit 1) for update;
$$;
create function layout.forget(text, text, text, through bigint) returns void language sql as $$
	delete from mam_message where user_id = layout.owner($2) and remote_bare_jid = $3 and id <= through;
$$;
create function layout.leave(text, text, text, through bigint) returns void language sql as $$
	with newer as (select count(*)::int as n from mam_message where user_id = layout.owner($2) and remote_bare_jid = $3 and id > through),
	gone as (delete from inbox using newer where luser || '@' || lserver = $2 and remote_bare_jid = $3 and newer.n = 0)
	update inbox set unread_count = least(unread_count, newer.n) from newer where luser || '@' || lserver = $2 and remote_bare_jid = $3 and newer.n > 0;
$$;
