-- +goose NO TRANSACTION
-- +goose Up

-- The key grows by the user: a command for everyone has a deletion for each member. The indexes are created without blocking
-- writes; for that they wait for all older transactions, however long they take.
set lock_timeout = 0;
drop index if exists lethe.deletions_key; -- left by an interrupted setup
create unique index concurrently deletions_key on lethe.deletions (app_id, command_id, user_id, conversation_id);

-- Hidden deletions whose conversation.erased the stream doesn't have yet: most wait for the floor of their shared log.
drop index if exists lethe.deletions_hidden;
create index concurrently deletions_hidden on lethe.deletions (app_id, conversation_id, through_seq) where state = 'done' and not erased and not erased_told;

-- Shared logs that are being erased, or of which hidden deletions are to be reported as erased: the ledger's rows without command and user.
drop index if exists lethe.deletions_erasing;
create index concurrently deletions_erasing on lethe.deletions (app_id, conversation_id) where command_id = '' and (state in ('pending', 'running') or not erased_told);

alter table lethe.deletions drop constraint deletions_pkey, add constraint deletions_pkey primary key using index deletions_key;
