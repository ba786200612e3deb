-- +goose Up

-- A step knows how far its batch reaches without a note in the ledger.
alter table lethe.deletions drop column batch_seq;
