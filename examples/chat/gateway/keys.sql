-- What the gateway remembers of requests with an Idempotency-Key. The gateway
-- creates it when it is first needed; where its role may not, run this as an
-- owner and grant usage on the schema and select, insert, update, delete on the table.
create schema if not exists gateway;

create table if not exists gateway.idempotency_keys (
    app_id     text        not null,
    user_id    text        not null,
    key        text        not null,
    request    text        not null, -- what was asked, to refuse another request
    command    jsonb       not null, -- what was made of it, boundaries included
    created_at timestamptz not null default now(),
    primary key (app_id, user_id, key)
);

create index if not exists idempotency_keys_created_at on gateway.idempotency_keys (created_at);
