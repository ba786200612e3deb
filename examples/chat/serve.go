package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

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
	var ready []func(context.Context) error
	if opts.serves("gateway") {
		db, err := pgxpool.New(ctx, opts.DatabaseURL)
		if err != nil {
			return fmt.Errorf("database: %w", err)
		}
		defer db.Close()
		g, err := gateway.New(gateway.Config{App: opts.App, Key: token.Key(opts.TokenKey), DB: db, NATS: nc, Log: log, Demo: opts.Demo})
		if err != nil {
			return err
		}
		defer g.Close()
		mux.Handle("/v1/", g.Handler())
		if opts.Demo {
			mux.Handle("/", pageHandler(opts.PresenceURL))
		}
		ready = append(ready, g.Ready)
	}
	if opts.serves("presence") {
		p, err := presence.Start(presence.Config{App: opts.App, Key: token.Key(opts.TokenKey), NATS: nc, Log: log})
		if err != nil {
			return err
		}
		defer p.Close()
		mux.Handle("GET /v1/connect", p.Handler())
		ready = append(ready, func(context.Context) error {
			if reason := p.NotReady(); reason != "" {
				return errors.New(reason)
			}
			return nil
		})
	}
	health(mux, ready)
	return listen(ctx, opts.Addr, mux, log)
}

// health serves /livez and /readyz.
func health(mux *http.ServeMux, ready []func(context.Context) error) {
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		for _, check := range ready {
			if err := check(ctx); err != nil {
				http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
				return
			}
		}
		fmt.Fprintln(w, "ready")
	})
}

// listen serves h at addr until ctx ends. Devices' connections are the presence
// service's to close.
func listen(ctx context.Context, addr string, h http.Handler, log *slog.Logger) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	log.InfoContext(ctx, "serving", "addr", listener.Addr().String())
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ConnContext:       smallBuffer,
	}
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
