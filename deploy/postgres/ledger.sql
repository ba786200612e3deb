-- Narrows what roles.sql has given, and gives the others their part of the ledger. Run it as lethe_setup after each
-- `worker setup`, which creates these tables; safe to run again.

revoke insert, update, delete on lethe.apps, lethe.schema_version from lethe_worker;
revoke update on lethe.commands from lethe_worker;

grant select on all tables in schema lethe to lethe_operator;
grant insert, update on lethe.apps to lethe_operator;
do $$
begin
    if to_regclass('lethe.throttles') is not null then -- worker pause and resume, which need delete here
        grant insert, update, delete on lethe.throttles to lethe_operator;
        revoke delete on lethe.throttles from lethe_worker;
    end if;
    if to_regclass('lethe.watermarks') is not null then -- a watermark never goes; who reads a shared log joins them
        revoke delete on lethe.watermarks from lethe_worker;
        grant select on lethe.watermarks to chat_gateway;
    end if;
    if to_regclass('lethe.ledger_id') is not null then
        revoke insert, update, delete on lethe.ledger_id from lethe_worker;
    end if;
end $$;

-- The page's switch of multi-client sync, and what a member of a shared log has deleted.
grant select, insert, update on lethe.apps to chat_gateway;
grant select on lethe.watermarks to chat_gateway;
