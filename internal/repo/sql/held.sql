-- What holds the long lane back, for the fence: later than the turn, so that it
-- is known what was noted while the batch waited for that. Tells the cause, how
-- long it lasts, and how long the batch has waited; notes when it begins.
-- throttles_pkey
with h as materialized (
  select h.reason, h.detail, extract(epoch from h.until - pg_catalog.clock_timestamp())::float8 as lasts
  from lethe.throttles h
  where h.until is null or h.until > pg_catalog.clock_timestamp()
  order by h.lane, h.reason limit 1
)
select pg_catalog.set_config('lethe.throttled', coalesce((select h.reason from h), ''), true), coalesce((select h.detail from h), ''),
  coalesce((select h.lasts from h), 0), extract(epoch from pg_catalog.clock_timestamp() - now())::float8, pg_catalog.set_config('lock_timeout', $1::text, true),
  pg_catalog.set_config('lethe.began', pg_catalog.clock_timestamp()::text, true)
