package handler_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/handler"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/repo"
	"github.com/lethe-im/lethe/internal/telemetry"
)

func TestMain(m *testing.M) { localtest.WaitingMain(m) }

// shortLease is [repo.Config.Lease] for the tests.
func shortLease() time.Duration { return 5 * time.Second }

// rig is a handler on a real ledger. The bus is a pair of channels; that the
// broker keeps the same promises is tested with a real server elsewhere.
type rig struct {
	*testing.T
	h       *handler.Handler
	cfg     handler.Config
	gate    *handler.Gate
	pool    *pgxpool.Pool
	url     string
	pub     *recorder
	log     *logText
	metrics *telemetry.Metrics
	seq     uint64
}

func newRig(t *testing.T, change func(*handler.Config)) *rig {
	t.Helper()
	return newRigOn(t, "", change)
}

// ready is a database that is set up.
var ready = localtest.Template{Make: func(ctx context.Context, url string) error {
	_, err := repo.Setup(ctx, url, repo.SetupOptions{SampleSchema: true})
	return err
}}

// newRigOn is newRig on a database of the test's own, or, for "", on a fresh one.
func newRigOn(t *testing.T, address string, change func(*handler.Config)) *rig {
	t.Helper()
	if address == "" {
		address = ready.Database(t)
	}
	return openRig(t, repo.Config{URL: address, Plan: plan.Bundled()}, "", change)
}

// openRig is newRigOn with a store of the test's own and, unless they are there, the plan's tables.
func openRig(t *testing.T, storage repo.Config, tables string, change func(*handler.Config)) *rig {
	t.Helper()
	r := &rig{T: t, url: storage.URL, pub: &recorder{}, gate: handler.NewGate(nil), log: &logText{}, metrics: telemetry.New(conversation.Names{}, func() float64 { return 0 })}
	if _, err := repo.Setup(t.Context(), r.url, repo.SetupOptions{SampleSchema: true}); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.pool, err = pgxpool.New(t.Context(), r.url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.pool.Close)
	r.exec(tables)
	storage.Lease = shortLease
	store, err := repo.Open(t.Context(), storage)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	r.cfg = handler.Config{
		Store: store, Publisher: r.pub, Gate: r.gate, Log: slog.New(slog.NewTextHandler(r.log, nil)), Metrics: r.metrics,
	}
	if change != nil {
		change(&r.cfg)
	}
	r.h = handler.New(r.cfg)
	r.h.Start()
	t.Cleanup(r.h.Stop)
	return r
}

// idle is a handler that works on nothing by itself.
func (r *rig) idle(change func(*handler.Config)) *handler.Handler {
	r.Helper()
	cfg := r.cfg
	if change != nil {
		change(&cfg)
	}
	h := handler.New(cfg)
	r.Cleanup(h.Stop)
	return h
}

func (r *rig) exec(sql string, args ...any) {
	r.Helper()
	if _, err := r.pool.Exec(r.Context(), sql, args...); err != nil {
		r.Fatalf("%s: %v", sql, err)
	}
}

func (r *rig) fill(conv string, n int) {
	r.Helper()
	r.exec(`insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at)
		select 'demo', 'alice', $1, i, now() - interval '1 hour' from generate_series(1, $2::int) i`, conv, n)
	r.exec(`insert into chat.conversations (app_id, user_id, conversation_id) values ('demo', 'alice', $1)`, conv)
}

func (r *rig) count(sql string, args ...any) (n int) {
	r.Helper()
	if err := r.pool.QueryRow(r.Context(), sql, args...).Scan(&n); err != nil {
		r.Fatal(err)
	}
	return n
}

// send hands a command for convs to the handler and returns its place.
func (r *rig) send(command string, convs ...string) *place {
	r.Helper()
	return r.deliver("conversation.delete.demo", r.encode(command, convs), nil)
}

// encode returns the body of a command for convs.
func (r *rig) encode(command string, convs []string) []byte {
	r.Helper()
	cmd := conversation.Command{CommandID: command, AppID: "demo", UserID: "alice", DeviceID: "phone"}
	for _, c := range convs {
		cmd.Conversations = append(cmd.Conversations, conversation.Target{ID: c})
	}
	data, err := json.Marshal(cmd)
	if err != nil {
		r.Fatal(err)
	}
	return data
}

func (r *rig) deliver(subject string, data []byte, header map[string][]string) *place {
	r.seq++
	p := &place{settled: make(chan bus.Outcome, 2)}
	r.h.Handle(bus.Delivery{Subject: subject, Data: data, Header: header, Sequence: r.seq, StoredAt: time.Now(), Deliveries: 1}, p)
	return p
}

// place records what a delivery came to.
type place struct {
	settled chan bus.Outcome
	left    sync.Once
}

func (p *place) Leave()               { p.left.Do(func() {}) }
func (p *place) Settle(o bus.Outcome) { p.settled <- o }

func (p *place) wait(t *testing.T) bus.Outcome {
	t.Helper()
	select {
	case o := <-p.settled:
		return o
	case <-time.After(time.Minute):
		t.Fatal("the delivery was not settled within a minute")
		return bus.Outcome{}
	}
}

// recorder keeps what was announced; it refuses while refuse is set.
type recorder struct {
	mu       sync.Mutex
	stored   []bus.Announcement
	refuse   error
	noErased error                  // refuses what is erased
	check    func(bus.Announcement) // is called with each, if not nil
	room     int64                  // for letters about malformed commands; 0 for 1 MiB
	full     bool                   // the stream of letters is
	progress int
	waited   map[string]bool
}

func (p *recorder) Publish(_ context.Context, as []bus.Announcement) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse != nil {
		return p.refuse
	}
	for _, a := range as {
		if p.check != nil {
			p.check(a)
		}
		if a.Erased != nil && p.noErased != nil {
			return p.noErased
		}
		if a.Letter != nil && p.full {
			return &purge.FaultError{Fault: purge.Infrastructure, Cause: "letters_full", Err: errors.New("full")}
		}
		p.stored = append(p.stored, a)
	}
	return nil
}

func (p *recorder) LetterRoom(context.Context) (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.room == 0 {
		return 1 << 20, nil
	}
	return p.room, nil
}

// setLetters says how much room there is for dead letters.
func (p *recorder) setLetters(room int64, full bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.room, p.full = room, full
}

func (p *recorder) Progress(d conversation.Deleting, _ conversation.Trace) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.progress++
	if p.waited == nil {
		p.waited = map[string]bool{}
	}
	p.waited[d.WaitingFor] = true
}

// waits says whether a progress message said that it waits for something.
func (p *recorder) waits(cause string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waited[cause]
}

// sightless is a store that can't be watched.
type sightless struct{ handler.Store }

func (sightless) Watch(context.Context, purge.Limits, bool) (purge.Figures, error) {
	return purge.Figures{}, errors.New("no sight")
}

func (p *recorder) setRefuse(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = err
}

// refuseErased refuses what is erased.
func (p *recorder) refuseErased(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.noErased = err
}

// summary tells what was announced, in order, in short.
func (p *recorder) summary() (out []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.stored {
		switch {
		case a.Deleted != nil:
			out = append(out, fmt.Sprintf("deleted %s %d", a.Deleted.ConversationID, a.Deleted.MessagesDeleted))
		case a.Erased != nil:
			out = append(out, "erased "+a.Erased.ConversationID)
		case a.Failed != nil:
			out = append(out, fmt.Sprintf("failed %s %s", a.Failed.ConversationID, a.Failed.Reason))
		case a.AllDeleted != nil:
			out = append(out, fmt.Sprintf("all deleted %d", a.AllDeleted.Conversations))
		default:
			out = append(out, fmt.Sprintf("letter %s", a.Letter.Reason))
		}
	}
	return out
}

var errFull = &purge.FaultError{Fault: purge.Infrastructure, Cause: "events_full", Err: errors.New("the stream is full")}
