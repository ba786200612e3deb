// Package groups has the tables of groups whose members share one log, and the plan with
// which a worker deletes there. The example's gateway uses them in its shard "groups".
package groups

import _ "embed" // for the files

// Schema makes the tables. Safe to run again.
//
//go:embed schema.sql
var Schema string

// Plan is what `worker --plan` reads.
//
//go:embed plan.yaml
var Plan []byte
