package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// httpServer serves /livez, /readyz and /metrics.
type httpServer struct {
	server   http.Server
	listener net.Listener
	done     chan struct{} // closed when nothing is served any more
}

// readiness is what /readyz reports. Each returns "" for nothing.
type readiness struct {
	notReady  func() string // why the worker takes no commands
	throttled func() string // what pauses or throttles a worker that is ready
	altered   func() string // what about the streams and the consumer isn't as setup makes it
}

// serveHTTP begins to serve at addr.
func serveHTTP(ctx context.Context, addr string, metrics *prometheus.Registry, ready readiness, log *slog.Logger) (*httpServer, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("http: %w: choose another --http-addr (HTTP_ADDR)", err)
	}
	s := &httpServer{listener: listener, done: make(chan struct{})}
	s.server = http.Server{
		Handler:           routes(metrics, ready),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	go func() {
		defer close(s.done)
		if err := s.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("http: no longer serving", "error", err)
		}
	}()
	return s, nil
}

func routes(metrics *prometheus.Registry, ready readiness) http.Handler {
	answer := func(w http.ResponseWriter, status int, text string) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text+"\n") // fails only if the client has gone
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		// A throttled worker is ready, or a pause would block a rollout.
		if reason := ready.notReady(); reason != "" {
			answer(w, http.StatusServiceUnavailable, "not ready: "+reason)
			return
		}
		text := "ready"
		if throttled := ready.throttled(); throttled != "" {
			text += "; throttled: " + throttled
		}
		if altered := ready.altered(); altered != "" {
			text += "; altered: " + altered
		}
		answer(w, http.StatusOK, text)
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	return mux
}

// httpGrace is how long requests in flight may take at the end.
const httpGrace = time.Second

// close ends the server, and requests in flight after a short grace.
func (s *httpServer) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, httpGrace)
	defer cancel()
	var err error
	if s.server.Shutdown(ctx) != nil { // a client is slow
		err = s.server.Close()
	}
	<-s.done
	return err
}
