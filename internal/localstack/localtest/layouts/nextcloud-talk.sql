create schema layout;
create function layout.seqs(text, text, text) returns setof bigint language sql as $$
	select id from oc_comments where object_type = 'chat' and object_id = $3 order by 1;
$$;
create function layout.hide(text, text, text, through bigint) returns void language sql as $$
	select;
$$;
create function layout.forget(text, text, text, through bigint) returns void language plpgsql as $$
declare ids bigint[] := array(select id from layout.seqs($1, $2, $3) id where id <= through);
begin
	delete from oc_reactions where parent_id = any (ids);
	delete from oc_comments where id = any (ids);
end $$;
create function layout.leave(text, text, text, through bigint) returns void language sql as $$
	select;
$$;
