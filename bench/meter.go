package main

import "context"

// metered runs work, which removes so many messages, right after a checkpoint,
// and returns what work measured and what it used for each message.
func (w *world) metered(ctx context.Context, messages int, work func(s sample) error) (sample, error) {
	if err := w.checkpoint(ctx); err != nil {
		return nil, err
	}
	start, err := w.used(ctx)
	if err != nil {
		return nil, err
	}
	s := sample{}
	if err := work(s); err != nil {
		return nil, err
	}
	end, err := w.used(ctx)
	for name, now := range end {
		if before, ok := start[name]; ok {
			s[name] = (now - before) / float64(messages)
		}
	}
	return s, err
}

// used is what has been used so far, in µs and bytes, where it can be told. The CPU of Postgres
// has the bench's own questions in it, which are few.
func (w *world) used(ctx context.Context) (sample, error) {
	s := sample{}
	set := func(name string, value float64, ok bool) {
		if ok {
			s[name] = value
		}
	}
	const micro = 1e6
	if w.contestant != nil {
		worker, ok := cpuOf(w.contestant.pid)
		set(figureWorkerCPU, worker*micro, ok)
		nats, ok := cpuOf(w.nats.pid)
		set(figureNATSCPU, nats*micro, ok)
	}
	if pid, ok := w.postgresPID(); ok {
		postgres, ok := cpuOfTree(pid)
		set(figurePostgresCPU, postgres*micro, ok)
	}
	var wal float64
	err := w.conn.QueryRow(ctx, "select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::float8").Scan(&wal)
	set(figureWAL, wal, err == nil)
	return s, err
}
