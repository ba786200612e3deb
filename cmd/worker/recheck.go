package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/lethe-im/lethe/internal/handler"
	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/repo"
)

const (
	// recheckEvery is how often the tables are checked, unless that would take more than
	// one recheckShare-th of the time: a check takes some milliseconds, and more where
	// tables have hundreds of partitions. recheckSoon is for tables that don't fit.
	recheckEvery, recheckSoon = 5 * time.Second, time.Second
	recheckShare              = 50
	// recheckMax is the longest time between two checks.
	recheckMax = time.Minute
	// recheckTimeout ends a check of a catalog that doesn't answer.
	recheckTimeout = 10 * time.Second
)

// errTablesChanged ends a worker that has to restart with the tables as they are now.
var errTablesChanged = errors.New("the plan's tables have changed")

// recheck notices, while the worker runs, changes that its start would have refused or
// warned of.
type recheck struct {
	store interface {
		Recheck(context.Context) ([]string, error)
	}
	gate     *handler.Gate
	log      *slog.Logger
	warnings []string              // logged already
	changed  func()                // called once, when the worker has to restart
	identify func(context.Context) // learns again which ledger it is
}

// run checks repeatedly until ctx ends or the worker has to restart.
func (c *recheck) run(ctx context.Context) error {
	for next := recheckEvery; ; {
		select {
		case <-time.After(next):
		case <-ctx.Done():
			return nil
		}
		began := time.Now()
		fits, changed := c.once(ctx)
		if changed {
			c.changed()
			return nil
		}
		next = waitAfter(fits, time.Since(began))
	}
}

// waitAfter is the time until the next check after one that has taken so long.
func waitAfter(fits bool, took time.Duration) time.Duration {
	if !fits {
		return max(recheckSoon, min(recheckShare*took, recheckEvery)) // the worker waits for it
	}
	return max(recheckEvery, min(recheckShare*took, recheckMax))
}

// once checks once. Other parts notice a database that doesn't answer: then fits is
// false, and the gate stays as it is.
func (c *recheck) once(ctx context.Context) (fits, changed bool) {
	const reason = "tables"
	limited, cancel := context.WithTimeout(ctx, recheckTimeout)
	defer cancel()
	warnings, err := c.store.Recheck(limited)
	_, why := purge.FaultOf(err)
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, repo.ErrChanged):
		return true, true
	case err == nil:
		if c.gate.Open(reason) {
			c.log.Info("tables fit the plan again; pulling commands")
		}
		c.warn(warnings)
		c.identify(limited)
	case slices.Contains([]string{"plan", "permission", "configuration", "collation", "replica_identity"}, why):
		if c.gate.Close(reason, err.Error()) {
			c.log.Error("tables no longer fit the plan; not pulling commands", "reason", why, "error", err)
		}
	}
	return err == nil, false
}

// warn logs what is new.
func (c *recheck) warn(warnings []string) {
	for _, w := range warnings {
		if !slices.Contains(c.warnings, w) {
			c.log.Warn("plan accepted with a warning", "warning", w)
		}
	}
	c.warnings = warnings
}
