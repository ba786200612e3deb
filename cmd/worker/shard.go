package main

import (
	"context"
	"log/slog"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/repo"
)

// shardConfig says which database is meant, where messages lie in several.
type shardConfig struct {
	Shard string `name:"shard" group:"Shard:" placeholder:"NAME" help:"Name of the shard, where messages lie in several databases: 1 to 32 of a-z, 0-9 and hyphens. Its commands have a stream of their own; events and dead letters are all shards'."`
}

func (c *shardConfig) check(p *problems) {
	if c.Shard == "" {
		return
	}
	if _, err := conversation.ParseShard(c.Shard); err != nil {
		p.add("shard", "%v", err)
	}
}

// shard is the setting, which has been checked.
func (c *shardConfig) shard() conversation.Shard { return conversation.Shard(c.Shard) }

// openLedger opens the ledger of the shard; the caller must close it. Where the setting is
// missing it becomes what the database says.
func (c *shardConfig) openLedger(ctx context.Context, url string) (*repo.Ledger, error) {
	ledger, err := repo.OpenLedger(ctx, url)
	if err != nil {
		return nil, err
	}
	c.Shard, err = ledger.Shard(ctx, c.Shard)
	if err != nil {
		ledger.Close()
		return nil, err
	}
	return ledger, nil
}

// named is log with the shard in each line.
func (c *shardConfig) named(log *slog.Logger) *slog.Logger {
	if c.Shard == "" {
		return log
	}
	return log.With("shard", c.Shard)
}
