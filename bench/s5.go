package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/conversation"
)

// Figures of S5.
const (
	figureChatP50  = "latency of people, p50, ms"
	figureChatP99  = "latency of people, p99, ms"
	figureChatP999 = "latency of people, p99.9, ms"
	figureChatMax  = "latency of people, max, ms"
	figureRemoved  = "rows removed in the window"
	figureUnderway = "deletions under way, % of the window"
	// figureCheckpoints shows that the windows are equal.
	figureCheckpoints = "checkpoints begun in the window"
)

// chatWarmUp is how long people chat before the window begins.
const chatWarmUp = 2 * time.Second

// whilePeopleChat is S5: people chat elsewhere while one huge deletion follows
// the other. The window is long enough for the server's checkpoints and the
// kernel's writeback, which come every half a minute here.
func whilePeopleChat() scenario {
	better := func(least float64) []goal {
		return []goal{{against: nothing, sense: atMost, number: least}, {against: oneStatement, sense: atMost, number: 1}, {against: nibble, sense: atMost, number: 1}}
	}
	return scenario{
		id: "S5", title: "people chat while huge deletions run back to back", rounds: 2,
		contestants: []contestant{lethe, oneStatement, nibble, nothing},
		server:      map[string]string{"checkpoint_timeout": "30s", "max_wal_size": "2GB"},
		figures: []figure{
			{name: figureChatP50, goals: []goal{{against: nothing}}},
			{name: figureChatP99, goals: better(1.2)},
			{name: figureChatP999, goals: better(1.5)},
			{name: figureChatMax},
			{name: figureRemoved},
			{name: figureUnderway},
			{name: figureCheckpoints},
		},
		load: func(ctx context.Context, w *world) error {
			if err := w.loadHuge(ctx, hugeOf(w.opts.Sizes.Huge, w.opts.Sizes.HugeEach)); err != nil {
				return err
			}
			return w.loadTalks(ctx)
		},
		run: runChatting,
	}
}

func runChatting(ctx context.Context, w *world, who contestant) (sample, error) {
	targets := hugeOf(w.opts.Sizes.Huge, w.opts.Sizes.HugeEach)
	if w.opts.isLethe(who) {
		if err := w.start(ctx, who, w.database); err != nil {
			return nil, err
		}
		if _, err := w.resume(); err != nil {
			return nil, err
		}
	}
	file := filepath.Join(w.dir, "chat")
	env := append(roleOf(roleChat, false), "DATABASE_URL="+w.database, fmt.Sprintf("%s=%d", rateVariable, w.opts.Sizes.Rate), fileVariable+"="+file)
	chat, err := startProcess(ctx, "chat", w.dir, env, []string{w.self})
	if err != nil {
		return nil, err
	}
	w.helpers = append(w.helpers, chat)
	if _, err := chat.ready(ctx); err != nil {
		return nil, err
	}
	if err := pauseFor(ctx, chatWarmUp); err != nil {
		return nil, err
	}
	before, err := w.checkpoints(ctx)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	e, err := w.eraseFor(ctx, who, targets, w.opts.Sizes.Chat)
	if err != nil {
		return nil, err
	}
	after, err := w.checkpoints(ctx)
	if err != nil {
		return nil, err
	}
	e.checkpoints = after - before
	if _, err := chat.stop(); err != nil {
		return nil, err
	}
	return w.judgeChat(ctx, who, targets, e, file, start)
}

// erased is what became of the huge conversations in the window.
type erased struct {
	finished, rows, checkpoints int
	late                        int // rows that a statement removed which began in the window and ended after it
	underway                    time.Duration
}

// checkpoints is how many the server has begun in its life.
func (w *world) checkpoints(ctx context.Context) (n int, err error) {
	sql := "select (checkpoints_timed + checkpoints_req)::int from pg_stat_bgwriter"
	var moved bool // with Postgres 17
	if err := w.conn.QueryRow(ctx, "select to_regclass('pg_catalog.pg_stat_checkpointer') is not null").Scan(&moved); err != nil {
		return 0, err
	}
	if moved {
		sql = "select (num_timed + num_requested)::int from pg_stat_checkpointer"
	}
	err = w.conn.QueryRow(ctx, sql).Scan(&n)
	return n, err
}

// eraseFor deletes one conversation after the other until the window ends.
func (w *world) eraseFor(ctx context.Context, who contestant, targets []target, window time.Duration) (erased, error) {
	start := time.Now()
	within, cancel := context.WithTimeout(ctx, window)
	defer cancel()
	var e erased
	var err error
	switch {
	case who == nothing:
	case w.opts.isLethe(who):
		e, err = w.eraseByWorker(within, targets)
	default:
		e, err = w.eraseDirectly(within, who, targets)
	}
	if err != nil && within.Err() == nil {
		return e, err
	}
	e.underway = min(time.Since(start), window)
	<-within.Done() // sooner over: they ran out of conversations
	if ctx.Err() == nil && w.opts.isLethe(who) {
		err = w.conn.QueryRow(ctx, rowsGone).Scan(&e.rows)
		return e, err
	}
	return e, ctx.Err()
}

// eraseDirectly is eraseFor without a worker, on its own connection.
func (w *world) eraseDirectly(ctx context.Context, who contestant, targets []target) (e erased, err error) {
	conn, err := pgx.Connect(ctx, w.database)
	if err != nil {
		return e, err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // the window's end has broken it
	for _, t := range targets {
		if who == nibble {
			err = nibbleAway(ctx, conn, t, func(rows int, _ time.Duration) { e.rows += rows })
		} else {
			err = e.eraseAtOnce(ctx, conn, t)
		}
		if err != nil {
			return e, err
		}
		e.finished++
	}
	return e, nil
}

// eraseAtOnce removes a conversation by a single DELETE. One that is under way
// when the window ends is let finish: whether a cancel had come too late couldn't
// be told.
func (e *erased) eraseAtOnce(ctx context.Context, conn *pgx.Conn, t target) error {
	if err := deleteAtOnce(context.WithoutCancel(ctx), conn, t); err != nil {
		return err
	}
	if ctx.Err() != nil {
		e.late, e.finished = t.messages, e.finished+1
		return ctx.Err()
	}
	e.rows += t.messages
	return nil
}

// eraseByWorker publishes a command, waits for its event, and publishes the next.
func (w *world) eraseByWorker(ctx context.Context, targets []target) (e erased, err error) {
	for i, t := range targets {
		if err := w.publish(ctx, []conversation.Command{t.command()}); err != nil {
			return e, err
		}
		if _, err := w.awaitEvents(ctx, i+1); err != nil {
			return e, err
		}
		e.finished++
	}
	return e, nil
}

// judgeChat reads what people felt, and checks what is left.
func (w *world) judgeChat(ctx context.Context, who contestant, targets []target, e erased, file string, start time.Time) (sample, error) {
	s := sample{}
	sent, all, err := readSpoken(file)
	if err != nil {
		return nil, err
	}
	var took []time.Duration
	for _, t := range all {
		if !t.meant.Before(start) && t.meant.Before(start.Add(w.opts.Sizes.Chat)) {
			took = append(took, t.took)
		}
	}
	for name, share := range map[string]float64{figureChatP50: 0.5, figureChatP99: 0.99, figureChatP999: 0.999, figureChatMax: 1} {
		s[name] = milliseconds(percentile(took, share))
	}
	if who != nothing {
		s[figureRemoved], s[figureUnderway] = float64(e.rows), 100*e.underway.Seconds()/w.opts.Sizes.Chat.Seconds()
	}
	s[figureCheckpoints] = float64(e.checkpoints)
	w.note(curveLatency, distribution(took))
	return s, w.checkChat(ctx, who, targets, e, s, sent)
}

// checkChat checks that people's messages are all there, and that just those of
// the huge conversations are gone that are said to be.
func (w *world) checkChat(ctx context.Context, who contestant, targets []target, e erased, s sample, sent int) error {
	if w.opts.isLethe(who) {
		if err := w.stop(s); err != nil {
			return err
		}
		if err := w.checkErased(ctx, targets, &e); err != nil {
			return err
		}
	}
	want := talkers*talksEach*talkMessages + sent
	if err := w.checkCount(ctx, "messages of people", want, "select count(*) from chat.messages where conversation_id like 'c2c_talk-%'"); err != nil {
		return err
	}
	return w.checkHuge(ctx, targets, e.finished, e.rows+e.late)
}

// checkErased reads how far a worker got, which went on until its stop, and
// checks that it told the truth.
func (w *world) checkErased(ctx context.Context, targets []target, e *erased) error {
	if err := w.conn.QueryRow(ctx, "select count(*) filter (where state = 'done') from lethe.deletions").Scan(&e.finished); err != nil {
		return err
	}
	if err := w.conn.QueryRow(ctx, rowsGone).Scan(&e.rows); err != nil {
		return err
	}
	return w.checkEvents(ctx, commandsOf(targets[:e.finished]), same(w.opts.Sizes.HugeEach))
}
