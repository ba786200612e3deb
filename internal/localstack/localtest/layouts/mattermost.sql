create schema layout;
create function layout.seqs(text, text, text) returns setof bigint language sql as $$
	select createat * 1000 from posts where channelid = $3 order by 1;
$$;
create function layout.hide(text, text, text, through bigint) returns void language sql as $$
	select;
$$;
create function layout.forget(text, text, text, through bigint) returns void language plpgsql as $$
declare ids text[] := array(select id from posts where channelid = $3 and createat * 1000 <= through);
begin
	delete from reactions where postid = any (ids);
	delete from fileinfo where postid = any (ids);
	delete from threads where postid = any (ids);
	delete from threadmemberships where postid = any (ids);
	delete from posts where id = any (ids);
end $$;
create function layout.leave(text, text, text, through bigint) returns void language sql as $$
	select;
$$;
