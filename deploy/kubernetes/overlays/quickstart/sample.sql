-- Alice's histories: each call adds 1,000 messages with Bob, and the first one 10 with Carol. A seq is never used twice.
with taken as (
    insert into chat.counters as c (app_id, user_id, last_seq) values ('demo', 'alice', 1010)
    on conflict (app_id, user_id) do update set last_seq = c.last_seq + 1010
    returning last_seq - 1010 as before
)
insert into chat.messages (app_id, user_id, conversation_id, seq, sender_id, body)
select 'demo', 'alice', case when n <= 1000 then 'c2c_bob' else 'c2c_carol' end, before + n, 'alice', jsonb_build_object('text', 'message ' || n)
from taken, generate_series(1, 1010) n
where n <= 1000 or before = 0;

insert into chat.conversations (app_id, user_id, conversation_id, last_seq)
select app_id, user_id, conversation_id, max(seq) from chat.messages where app_id = 'demo' and user_id = 'alice' group by 1, 2, 3
on conflict (app_id, user_id, conversation_id) do update set last_seq = excluded.last_seq;
