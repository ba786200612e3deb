package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/examples/chat/gateway"
	"github.com/lethe-im/lethe/examples/chat/presence"
	"github.com/lethe-im/lethe/examples/chat/token"
)

// stopTime bounds the end of requests that are being answered.
const stopTime = 5 * time.Second

// serve runs the roles until ctx ends.
func serve(ctx context.Context, opts options, log *slog.Logger) error {
	nc, err := opts.connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	mux := http.NewServeMux()
	var ready []check
	if opts.serves("gateway") {
		g, closeGateway, err := opts.gateway(ctx, nc, log)
		if err != nil {
			return err
		}
		defer closeGateway()
		mux.Handle("/v1/", g.Handler())
		if opts.Demo {
			_, shared := opts.Databases[gateway.GroupsShard]
			mux.Handle("/", pageHandler(pageConfig{opts.PresenceURL, shared}))
		}
		ready = append(ready, check{"gateway", g.Ready})
	}
	if opts.serves("presence") {
		p, err := presence.Start(presence.Config{App: opts.App, Key: token.Key(opts.TokenKey), NATS: nc, Log: log, Hosts: opts.Hosts})
		if err != nil {
			return err
		}
		defer p.Close()
		mux.Handle("GET /v1/connect", p.Handler())
		ready = append(ready, check{"presence", func(context.Context) error {
			if reason := p.NotReady(); reason != "" {
				return errors.New(reason)
			}
			return nil
		}})
	}
	health(mux, ready, log)
	return listen(ctx, opts.Addr, newServer(mux, log), log)
}

// gateway opens the databases and returns a gateway over them, and what closes all.
func (o *options) gateway(ctx context.Context, nc *nats.Conn, log *slog.Logger) (*gateway.Gateway, func(), error) {
	db, err := openDatabase(ctx, "--database-url (DATABASE_URL)", o.DatabaseURL)
	if err != nil {
		return nil, nil, err
	}
	opened := []*pgxpool.Pool{db}
	closeAll := func() {
		for _, p := range opened {
			p.Close()
		}
	}
	read := db
	if o.ReadURL != "" {
		if read, err = openDatabase(ctx, "--read-database-url (READ_DATABASE_URL)", o.ReadURL); err != nil {
			closeAll()
			return nil, nil, err
		}
		opened = append(opened, read)
	}
	databases := map[string]*pgxpool.Pool{}
	for shard, address := range o.Databases {
		if databases[shard], err = openDatabase(ctx, "--shard-databases (CHAT_SHARD_DATABASES): "+shard, address); err != nil {
			closeAll()
			return nil, nil, err
		}
		opened = append(opened, databases[shard])
	}
	g, err := gateway.New(gateway.Config{
		App: o.App, Key: token.Key(o.TokenKey), DB: db, Read: read, NATS: nc, Log: log, Demo: o.Demo, Hosts: o.Hosts,
		Shards: o.Shards, Databases: databases,
	})
	if err != nil {
		closeAll()
		return nil, nil, err
	}
	return g, func() {
		g.Close()
		closeAll()
	}, nil
}

// openDatabase returns a pool that connects when it is first needed.
func openDatabase(ctx context.Context, setting, address string) (*pgxpool.Pool, error) {
	cfg, err := databaseConfig(setting, address)
	if err != nil {
		return nil, err
	}
	return pgxpool.NewWithConfig(ctx, cfg)
}

// check reports whether a role can do its work.
type check struct {
	role string
	ask  func(context.Context) error
}

// health serves /livez and /readyz. What keeps a role from its work goes into the
// log, once: whoever may call /readyz need not know the database's address.
func health(mux *http.ServeMux, ready []check, log *slog.Logger) {
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	var mu sync.Mutex // guards told
	told := map[string]bool{}
	tell := func(ctx context.Context, role string, err error) {
		mu.Lock()
		defer mu.Unlock()
		if failed := err != nil; failed != told[role] {
			told[role] = failed
			if failed {
				log.WarnContext(ctx, "not ready", "role", role, "error", err)
			} else {
				log.InfoContext(ctx, "ready again", "role", role)
			}
		}
	}
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		for _, c := range ready {
			err := c.ask(ctx)
			tell(ctx, c.role, err)
			if err != nil {
				http.Error(w, "not ready: a server that "+c.role+" needs is unavailable: see its log", http.StatusServiceUnavailable)
				return
			}
		}
		fmt.Fprintln(w, "ready")
	})
}

// newServer bounds how long a request may take to arrive and an answer to leave,
// and what headers may cost. A device's WebSocket has left it by then: presence
// bounds that.
func newServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           withHeaders(h),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second, // with the body
		WriteTimeout:      30 * time.Second, // from the end of the headers
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    8 << 10, // kept for as long as a device is connected
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ConnContext:       smallBuffer,
	}
}

// withHeaders has browsers take each answer for what it is, and show it to no page
// of another origin.
func withHeaders(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headers := w.Header()
		headers.Set("X-Content-Type-Options", "nosniff")
		headers.Set("Referrer-Policy", "no-referrer")
		headers.Set("Cross-Origin-Resource-Policy", "same-origin")
		headers.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'") // the page has its own
		h.ServeHTTP(w, r)
	})
}

// listen serves at addr until ctx ends. Devices' connections are the presence
// service's to close.
func listen(ctx context.Context, addr string, server *http.Server, log *slog.Logger) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	log.InfoContext(ctx, "serving", "addr", listener.Addr().String())
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil { // a client is slow
		_ = server.Close()
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// socketBuffer bounds what the kernel keeps for a device that doesn't read, in
// bytes; it would be megabytes otherwise.
const socketBuffer = 64 << 10

func smallBuffer(ctx context.Context, c net.Conn) context.Context {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(socketBuffer) // only costs memory, if it fails
	}
	return ctx
}
