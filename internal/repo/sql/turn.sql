-- A place in the budget that all replicas share: one of $2 advisory locks of
-- class $1, which ends with the transaction. If all are taken, the batch queues
-- for place $3, for $4 at most: the server's queue is fair, and hands over at
-- once. Nothing else is locked by then.
select coalesce(
  (select place from pg_catalog.generate_series(1, $2::int) place where pg_catalog.pg_try_advisory_xact_lock($1::int, place) limit 1),
  case when pg_catalog.set_config('lock_timeout', $4::text, true) <> '' then (pg_catalog.pg_advisory_xact_lock($1::int, $3::int)::text || $3::int::text)::int end)
