package repo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// checkAfter is how long a transaction may take before it is checked whether the
	// server still works on it, and how long until the next check. Few take as long. An
	// answer that is on its way then gets a third of it to arrive.
	checkAfter = 3 * time.Second
	// checkTimeout bounds a check, checkConnect its attempt on each server.
	checkTimeout, checkConnect = 4 * time.Second, 2 * time.Second
)

// checkInterval is how long a transaction may take before it is checked, and until the next
// check: checkAfter, but for tests.
func (s *source) checkInterval() time.Duration {
	if s.checkAfter > 0 {
		return s.checkAfter
	}
	return checkAfter
}

// watch monitors the transaction that is about to be sent over conn. If it takes
// long, a new connection asks whether the server still runs it. After a silent failover,
// or where a network has dropped the answer, it doesn't.
// The context ends then, and with it the connection. stop ends the watch and says
// what it found.
func (t *transaction) watch(ctx context.Context, conn *pgx.Conn) (watched context.Context, stop func() error) {
	watched, cancel := context.WithCancelCause(ctx)
	pid, wire := conn.PgConn().PID(), conn.PgConn().Conn()
	if t.source.pooler.Load() {
		pid = 0
	}
	began, ended := time.Now(), make(chan struct{})
	var lost error
	timer := time.AfterFunc(t.source.checkInterval(), func() {
		defer close(ended)
		for {
			if lost = t.lost(watched, pid, began); lost != nil {
				cancel(lost)
				_ = wire.Close() // a farewell would wait for an answer, too
				return
			}
			if !sleep(watched, t.source.checkInterval()) {
				return
			}
		}
	})
	return watched, func() error {
		running := !timer.Stop()
		cancel(nil)
		if running {
			<-ended
		}
		return lost
	}
}

// lost says why the transaction's answer will never come; nil if it may.
func (t *transaction) lost(ctx context.Context, pid uint32, began time.Time) error {
	for range 2 {
		working, err := t.source.working(ctx, pid, began)
		switch {
		case ctx.Err() != nil || working:
			return nil //nolint:nilerr // the transaction has ended: nobody asks any more
		case err != nil:
			return fmt.Errorf("no answer for %v, and no new connection: %w", time.Since(began).Round(time.Millisecond), err)
		case !sleep(ctx, t.source.checkInterval()/3):
			return nil
		}
	}
	return fmt.Errorf("no answer for %v, and the server that new connections reach doesn't run the transaction", time.Since(began).Round(time.Millisecond))
}

// working asks over a new connection whether the server works on a transaction. It may
// where a server answers and doesn't let us ask: one that starts, or has no connection
// to spare. An error means that no server can be reached.
func (s *source) working(ctx context.Context, pid uint32, began time.Time) (bool, error) {
	c, err := s.connConfig()
	if err != nil {
		return true, nil // a file that is just being written says nothing of the server
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	c.AfterConnect, c.ConnectTimeout = nil, min(c.ConnectTimeout, checkConnect)
	conn, err := pgconn.ConnectConfig(ctx, &c.Config)
	var answer *pgconn.PgError
	if err != nil {
		return errors.As(err, &answer), err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // it was only read from
	ask := general.get("at_work")
	values := make([][]byte, 0, len(ask.params))
	for _, v := range ask.bind(args{
		"pid": fmt.Sprint(pid), "since": fmt.Sprintf("%.3f", time.Since(began).Seconds()), "name": c.RuntimeParams["application_name"],
		"age": fmt.Sprintf("%.3f", (s.checkInterval() / 3).Seconds()),
	}) {
		values = append(values, []byte(v.(string)))
	}
	res := conn.ExecParams(ctx, ask.sql, values, nil, nil, nil).Read()
	if res.Err != nil || len(res.Rows) != 1 {
		return true, nil
	}
	return string(res.Rows[0][0]) == "t", nil
}

// sleep waits, but not beyond the end of ctx, and reports whether that is yet to come.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
