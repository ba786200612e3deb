-- +goose Up

-- What throttles lanes of all workers: an operator's pause (reason 'paused', without
-- an end), a slow batch, and foreground load (lane 'long').
alter table lethe.holds rename to throttles;
alter table lethe.throttles rename column cause to reason;
alter table lethe.throttles rename constraint holds_pkey to throttles_pkey;
alter table lethe.throttles rename constraint holds_lane_check to throttles_lane_check;
comment on table lethe.throttles is 'What throttles or pauses lanes of all workers.';
update lethe.throttles set reason = 'foreground_load' where reason = 'yield';

-- +goose StatementBegin
create or replace function lethe.guard_pauses() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if not pg_catalog.has_table_privilege(tg_relid, 'delete') then
        raise exception 'role % may not pause or resume: that takes the privilege to delete from lethe.throttles', current_user
            using errcode = 'insufficient_privilege';
    end if;
    return coalesce(new, old);
end $$;
-- +goose StatementEnd
