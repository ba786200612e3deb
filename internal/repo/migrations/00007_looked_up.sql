-- +goose Up

-- What the plan looked up when the boundary was pinned; null where it looks up nothing, and in rows of older workers.
alter table lethe.deletions add column looked_up text[];
comment on column lethe.deletions.looked_up is 'A digest of what the plan looks up, and what it found, pinned with the boundary.';
