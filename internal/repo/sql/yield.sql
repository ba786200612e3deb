-- Lets the long lane of all workers rest for $1 times as long as this batch has
-- taken since it had its turn, if it did anything. It comes last: the row is
-- locked for the moment of the commit alone. holds_pkey
insert into lethe.holds as h (lane, cause, until)
select 'long', 'yield', clock_timestamp()
  + least($1::float8 * (clock_timestamp() - current_setting('lethe.began')::timestamptz), interval '1 s')
where current_setting('lethe.held') = ''
on conflict (lane, cause) do update set since = excluded.since, until = greatest(h.until, excluded.until)
