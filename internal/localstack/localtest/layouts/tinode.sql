create schema layout;
create function layout.seqs(text, text, text) returns setof bigint language sql as $$
	select seqid from messages where topic = $3 order by 1;
$$;
create function layout.hide(text, text, text, through bigint) returns void language sql as $$
	select;
$$;
create function layout.forget(text, text, text, through bigint) returns void language plpgsql as $$
declare ids int[] := array(select id from messages where topic = $3 and seqid <= through);
begin
	delete from reactions where topic = $3 and seqid <= through;
	delete from filemsglinks where msgid = any (ids);
	delete from messages where id = any (ids);
end $$;
create function layout.leave(text, text, text, through bigint) returns void language sql as $$
	select;
$$;
