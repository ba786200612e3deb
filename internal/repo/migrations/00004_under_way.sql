-- +goose NO TRANSACTION
-- +goose Up

-- What is under way, by user: `worker status --user`, and whoever counts it. It holds unfinished rows alone, which are few. It is
-- made without keeping workers from writing; that waits for transactions that are older than it, however long they take.
set lock_timeout = 0;
drop index if exists lethe.deletions_under_way; -- what a setup that broke off has left
create index concurrently deletions_under_way on lethe.deletions (app_id, user_id, command_id, conversation_id) where state in ('pending', 'running');
