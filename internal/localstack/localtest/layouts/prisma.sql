create schema layout;
create function layout.us(timestamp) returns bigint language sql immutable as $$ select (extract(epoch from $1) * 1000000)::bigint $$;
create function layout.say(text, text, text, n int, first timestamptz, every interval, "row" boolean) returns void language plpgsql as $$
declare ids uuid[];
begin
	with m as (insert into "Message" ("ownerId", "conversationId", "senderId", "body", "createdAt")
		select $2::uuid, $3::uuid, $2::uuid, 'text ' || i, date_trunc('milliseconds', first at time zone 'UTC' + i * every) from generate_series(0, n - 1) i returning "id")
	select array_agg("id") into ids from m;
	insert into "Attachment" ("messageId", "url") select "id", 's3://bucket' from "Message" where "id" = any (ids) and "body" like '%5';
	insert into "Reaction" ("messageId", "userId", "emoji") select "id", "ownerId", '+1' from "Message" where "id" = any (ids) and "body" like '%3';
	if "row" then
		insert into "Member" as b ("userId", "conversationId", "unreadCount") values ($2::uuid, $3::uuid, n)
		on conflict ("userId", "conversationId") do update set "unreadCount" = b."unreadCount" + n;
	end if;
end $$;
create function layout.seqs(text, text, text) returns setof bigint language sql as $$
	select layout.us("createdAt") from "Message" where ("ownerId", "conversationId") = ($2::uuid, $3::uuid) order by 1;
$$;
create function layout.hold(text, text, text, nth int) returns void language sql as $$
	select from "Message" where "id" = (select "id" from "Message" where ("ownerId", "conversationId") = ($2::uuid, $3::uuid) order by "createdAt" offset nth limit 1) for update;
$$;
create function layout.forget(text, text, text, through bigint) returns void language plpgsql as $$
declare ids uuid[] := array(select "id" from "Message" where ("ownerId", "conversationId") = ($2::uuid, $3::uuid) and layout.us("createdAt") <= through);
begin
	delete from "Attachment" where "messageId" = any (ids);
	delete from "Reaction" where "messageId" = any (ids);
	delete from "Message" where "id" = any (ids);
end $$;
create function layout.leave(text, text, text, through bigint) returns void language plpgsql as $$
declare newer int := (select count(*) from layout.seqs($1, $2, $3) seq where seq > through);
begin
	delete from "Member" where ("userId", "conversationId") = ($2::uuid, $3::uuid) and newer = 0;
	update "Member" set "unreadCount" = least("unreadCount", newer) where ("userId", "conversationId") = ($2::uuid, $3::uuid);
end $$;
