package repo

import "time"

// Pool is the state of the pool of connections.
type Pool struct {
	Used, Idle, Opening, Max int
	// Waits is how often somebody had to wait for a connection since the start, and
	// Waited for how long in all.
	Waits  int64
	Waited time.Duration
}

// Pool returns the state of the pool of connections. It asks nobody.
func (r *Repo) Pool() Pool {
	s := r.pool.Stat()
	return Pool{
		Used: int(s.AcquiredConns()), Idle: int(s.IdleConns()), Opening: int(s.ConstructingConns()), Max: int(s.MaxConns()),
		Waits: s.EmptyAcquireCount(), Waited: s.EmptyAcquireWaitTime(),
	}
}
