package main

import (
	"math"
	"strings"
	"time"

	"github.com/lethe-im/lethe/internal/purge"
)

// mostYield leaves large deletions a hundredth of the time.
const mostYield = 100

// gentleConfig is when the long lane holds back for others.
type gentleConfig struct {
	MaxReplicaLag     time.Duration `name:"max-replica-lag" group:"Gentle:" placeholder:"DURATION" default:"5s" help:"Large deletions wait while a standby is further behind than this; 0 for off. Needs what deploy/postgres/roles.sql grants to lethe_setup."`
	IgnoreStandbys    string        `name:"ignore-standbys" group:"Gentle:" placeholder:"NAMES" help:"Standbys whose lag is no matter, by application_name, with commas between them: those that are delayed on purpose."`
	MaxLockWait       time.Duration `name:"max-lock-wait" group:"Gentle:" placeholder:"DURATION" default:"100ms" help:"Large deletions wait while others have waited for longer than this, and twice --target, for a worker's locks; 0 for off."`
	MaxWALRetained    byteSize      `name:"max-wal-retained" group:"Gentle:" placeholder:"SIZE" default:"4GiB" help:"Large deletions wait while a replication slot or a failing archiver holds more WAL back than this; 0 for off."`
	SlowBatch         time.Duration `name:"slow-batch" group:"Gentle:" placeholder:"DURATION" help:"After batches that take longer than this, large deletions of all workers rest for as long as the batch took. Without it: twice --target."`
	ForegroundBackoff float64       `name:"foreground-backoff" group:"Gentle:" placeholder:"TIMES" default:"4" help:"While others are at work in the database, large deletions of all workers rest up to this many times as long as each batch took; 0 for off."`
	LongConcurrency   int           `name:"long-concurrency" group:"Gentle:" placeholder:"N" default:"2" help:"Most batches of large deletions at a time, over all workers of the database; 0 for any number."`
}

func (c *gentleConfig) check(p *problems, target time.Duration) {
	const longest = 24 * time.Hour
	for _, limit := range []struct {
		flag string
		v    time.Duration
	}{{"max-replica-lag", c.MaxReplicaLag}, {"max-lock-wait", c.MaxLockWait}, {"slow-batch", c.SlowBatch}} {
		if limit.v != 0 {
			p.lasting(limit.flag, limit.v, time.Millisecond, longest)
		}
	}
	if c.SlowBatch > 0 && c.SlowBatch < target {
		p.add("slow-batch", "%v is less than --target, %v: expected more", c.SlowBatch, target)
	}
	if c.ForegroundBackoff < 0 || c.ForegroundBackoff > mostYield || math.IsNaN(c.ForegroundBackoff) {
		p.add("foreground-backoff", "%v is out of range: expected 0 to %d", c.ForegroundBackoff, mostYield)
	}
	if c.LongConcurrency != 0 {
		p.upTo("long-concurrency", c.LongConcurrency, 64)
	}
}

// limits are the throttles' thresholds. Ordinary batches take up to the target, and
// whoever meets one waits that long.
func (c *gentleConfig) limits(target time.Duration) purge.Limits {
	l := purge.Limits{ReplicaLag: c.MaxReplicaLag, LockWait: c.MaxLockWait, WALRetained: int64(c.MaxWALRetained)}
	if l.LockWait > 0 {
		l.LockWait = max(l.LockWait, 2*target)
	}
	for name := range strings.SplitSeq(c.IgnoreStandbys, ",") {
		if name = strings.TrimSpace(name); name != "" {
			l.IgnoreStandbys = append(l.IgnoreStandbys, name)
		}
	}
	return l
}
