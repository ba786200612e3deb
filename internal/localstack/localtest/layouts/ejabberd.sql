create schema layout;
create function layout.say(text, text, text, n int, first timestamptz, every interval, "row" boolean) returns void language sql as $$
	insert into archive (username, server_host, timestamp, peer, bare_peer, xml, txt, kind, nick)
	select $2, $1, (extract(epoch from first + i * every) * 1000000)::bigint, $3 || '/phone', $3, '<message/>', 'text ' || i, 'chat', '' from generate_series(0, n - 1) i;
$$;
create function layout.seqs(text, text, text) returns setof bigint language sql as $$
	select timestamp from archive where (server_host, username, bare_peer) = ($1, $2, $3) order by 1;
$$;
create function layout.hold(text, text, text, nth int) returns void language sql as $$
	select from archive where id = (select id from archive where (server_host, username, bare_peer) = ($1, $2, $3) order by timestamp offset nth limit 1) for update;
$$;
create function layout.forget(text, text, text, through bigint) returns void language sql as $$
	delete from archive where (server_host, username, bare_peer) = ($1, $2, $3) and timestamp <= through;
$$;
create function layout.leave(text, text, text, through bigint) returns void language sql as $$
$$;
