-- +goose NO TRANSACTION
-- +goose Up

-- Indexes are created, and those that an interrupted setup has left are dropped, without blocking anybody; for that it waits for
-- all older transactions, however long they take.
set lock_timeout = 0;

-- The key of later: a command for everyone has a deletion for each member.
drop index concurrently if exists lethe.deletions_key;
create unique index concurrently deletions_key on lethe.deletions (app_id, command_id, user_id, conversation_id);

-- Hidden deletions whose conversation.erased the stream doesn't have yet: most wait for the floor of their shared log.
drop index concurrently if exists lethe.deletions_hidden;
create index concurrently deletions_hidden on lethe.deletions (app_id, conversation_id, through_seq) where state = 'done' and not erased and not erased_told;

-- Shared logs that are being erased, or of which hidden deletions are to be reported as erased: the ledger's rows without command and user.
drop index concurrently if exists lethe.deletions_erasing;
create index concurrently deletions_erasing on lethe.deletions (app_id, conversation_id) where command_id = '' and (state in ('pending', 'running') or not erased_told);
