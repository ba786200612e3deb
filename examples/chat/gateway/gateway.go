// Package gateway is a chat gateway: the HTTP API that devices call. It writes
// messages, reads the history, and turns "delete this conversation" into a
// command for the workers. Read delete.go for that; the rest is what any gateway
// has.
package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/examples/chat/limit"
	"github.com/lethe-im/lethe/examples/chat/origin"
	"github.com/lethe-im/lethe/examples/chat/token"
)

// Config is what a gateway is made of. All of it but Read, Hosts, Shards,
// Databases and Demo is required.
type Config struct {
	// App is the tenant. A token for another is refused.
	App string
	// Key verifies the tokens, and in the demo signs them.
	Key token.Key
	// DB holds the schema chat and lethe.apps.
	DB *pgxpool.Pool
	// Read is where lists and histories are read: a standby that may lag. Nil: DB.
	Read *pgxpool.Pool
	// NATS should refuse to buffer while it is disconnected
	// (nats.ReconnectBufSize(-1)): a gateway says at once that it can't help.
	NATS *nats.Conn
	Log  *slog.Logger
	// Demo issues tokens to every visitor of the page, and fills a group with messages.
	Demo bool
	// Hosts are the names of the page, beside those of this machine: only there
	// does the demo issue tokens.
	Hosts origin.Names
	// Shards name the database of an app's messages, by app, or of a user's, by app/user,
	// where there are several. Commands of the others name no shard.
	Shards map[string]string
	// Databases are those of the shards. One that has none is DB, too. The one of GroupsShard
	// has shared groups; without it there are none.
	Databases map[string]*pgxpool.Pool
}

// Gateway serves the API. Its methods are safe for concurrent use.
type Gateway struct {
	Config
	store     store // writes, and what must not be old
	reads     store // may lag behind
	client    *conversation.Client
	toGroups  *conversation.Client // of the shard of shared groups
	huge      *huge
	requests  *limit.Limiter
	deletions *limit.Limiter
	clock     func() time.Time

	life context.Context // ends with Close
	end  context.CancelFunc
	jobs sync.WaitGroup // what goes on after its request has been answered
}

// Bounds of requests of any kind: a user's devices send a few each second.
var (
	appRequests  = limit.Rate{PerSecond: 5_000, Burst: 20_000}
	userRequests = limit.Rate{PerSecond: 50, Burst: 500}
)

// Bounds of what is deleted, in conversations. Without them one user could fill the
// commands' stream, and the workers' day, for everybody. A device that deletes its
// whole list needs a burst; nobody needs a thousand deletions a second.
var (
	appDeletions  = limit.Rate{PerSecond: 500, Burst: 5_000}
	userDeletions = limit.Rate{PerSecond: 10, Burst: 200}
	userDay       = limit.Rate{PerSecond: 10_000.0 / (24 * 60 * 60), Burst: 10_000}
)

// New returns a gateway over connections that stay the caller's to close, after
// Close.
func New(cfg Config) (*Gateway, error) {
	if len(cfg.Key) < token.MinKey {
		return nil, errors.New("gateway: the token key is too short")
	}
	client, err := conversation.NewClient(cfg.NATS,
		conversation.WithShard(func(cmd conversation.Command) string { return cfg.shardOf(cmd.AppID, cmd.UserID) }))
	if err != nil {
		return nil, err
	}
	toGroups, err := conversation.NewClient(cfg.NATS,
		conversation.WithShard(func(conversation.Command) string { return GroupsShard }))
	if err != nil {
		return nil, err
	}
	if cfg.Read == nil {
		cfg.Read = cfg.DB
	}
	g := &Gateway{
		Config: cfg, store: store{cfg.DB}, reads: store{cfg.Read}, client: client, toGroups: toGroups, huge: newHuge(),
		requests:  limit.New(appRequests, userRequests),
		deletions: limit.New(appDeletions, userDeletions, userDay), clock: time.Now,
	}
	g.life, g.end = context.WithCancel(context.Background())
	return g, nil
}

// Close ends what goes on in the background and waits for it. Requests are the
// server's to end, before.
func (g *Gateway) Close() {
	g.end()
	g.jobs.Wait()
}

// Handler serves the API under /v1/. Pages of other origins can make a browser
// change nothing here.
func (g *Gateway) Handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, h func(*request) error) { mux.Handle(pattern, g.authenticated(h)) }
	handle("GET /v1/conversations", g.list)
	handle("GET /v1/conversations/{id}/messages", g.history)
	handle("POST /v1/conversations/{id}/messages", g.send)
	handle("POST /v1/conversations/{idAndVerb}", g.deleteOne) // {id}:delete
	handle("POST /v1/conversations:delete", g.deleteMany)
	handle("GET /v1/settings", g.settings)
	handle("PUT /v1/settings", g.changeSettings)
	if g.Demo {
		mux.Handle("POST /v1/demo/token", g.public(g.issueToken))
		handle("GET /v1/demo/huge", g.hugeState)
		handle("POST /v1/demo/huge", g.fillHuge)
		handle("POST /v1/demo/reuse", g.reuse)
		handle("GET /v1/demo/rows", g.groupRows)
		handle("POST /v1/demo/history", g.groupHistory)
	}
	mux.Handle("/v1/", g.public(func(*request) error { return errNoRoute }))
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(g.public(func(*request) error { return errOtherPage }))
	return protection.Handler(mux)
}

// Ready returns why the gateway can't do its work, nil if it can. Without the database of a shard it can, for all users but
// that shard's.
func (g *Gateway) Ready(ctx context.Context) error {
	if !g.NATS.IsConnected() {
		return errors.New("NATS is " + g.NATS.Status().String())
	}
	return errors.Join(g.DB.Ping(ctx), g.Read.Ping(ctx))
}
