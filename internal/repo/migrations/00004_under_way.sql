-- +goose NO TRANSACTION
-- +goose Up

-- Unfinished deletions by user, for `worker status --user`. The index has only unfinished rows, which are few. It is created
-- without blocking writes; for that it waits for all older transactions, however long they take.
set lock_timeout = 0;
drop index if exists lethe.deletions_under_way; -- left by an interrupted setup
create index concurrently deletions_under_way on lethe.deletions (app_id, user_id, command_id, conversation_id) where state in ('pending', 'running');
