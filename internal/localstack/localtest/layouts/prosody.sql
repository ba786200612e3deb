create schema layout;
create function layout.say(text, text, text, n int, first timestamptz, every interval, "row" boolean) returns void language sql as $$
	insert into prosodyarchive (host, "user", store, key, "when", "with", type, value)
	select $1, $2, 'archive', gen_random_uuid()::text, floor(extract(epoch from first + i * every))::int, $3, 'xml', '<message/>' from generate_series(0, n - 1) i;
$$;
create function layout.seqs(text, text, text) returns setof bigint language sql as $$
	select "when" * 1000000::bigint from prosodyarchive where (host, "user", "with", store) = ($1, $2, $3, 'archive') order by 1;
$$;
create function layout.hold(text, text, text, nth int) returns void language sql as $$
	select from prosodyarchive where sort_id =
		(select sort_id from prosodyarchive where (host, "user", "with", store) = ($1, $2, $3, 'archive') order by "when" offset nth limit 1) for update;
$$;
create function layout.forget(text, text, text, through bigint) returns void language sql as $$
	delete from prosodyarchive where (host, "user", "with", store) = ($1, $2, $3, 'archive') and "when" * 1000000::bigint <= through;
$$;
create function layout.leave(text, text, text, through bigint) returns void language sql as $$
$$;
