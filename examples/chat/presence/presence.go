// Package presence tells the devices that are connected what became of
// deletions, and those that come back what they missed.
//
// An instance reads the events stream with one consumer (feed.go), however many
// devices it has, and fans the events out in memory (hub.go). A device that
// connects is first brought up to date from the stream by direct get
// (catchup.go); from then on it hears what the hub hears (device.go). Instances
// know nothing of each other: run as many as you like.
package presence

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/examples/chat/limit"
	"github.com/lethe-im/lethe/examples/chat/origin"
	"github.com/lethe-im/lethe/examples/chat/token"
)

// Config is what a presence service is made of. App, Key, NATS and Log are
// required; what is zero otherwise gets its default.
type Config struct {
	// App is the tenant whose events are told. A token for another is refused.
	App string
	// Key verifies the devices' tokens.
	Key token.Key
	// NATS stays the caller's to close, after Close.
	NATS *nats.Conn
	Log  *slog.Logger
	// Hosts are the names of the pages that may connect, beside those of this
	// machine. Programs, which have no page, may in any case.
	Hosts origin.Names
	// MaxDevices is how many connections the instance has at most. Each costs some
	// 30 KiB, and up to Buffer more while it doesn't read. Default 5,000.
	MaxDevices int
	// MaxPerUser is how many of them one user may have. Default 32.
	MaxPerUser int
	// Buffer is how many bytes may wait for a device that doesn't read, before it
	// is dropped. Default 256 KiB, some 500 events.
	Buffer int
	// Remember is how many events are kept in memory for devices that come back
	// soon. Default 1024.
	Remember int
	// Timeout is how long devices are kept while NATS is away. Default 10 s.
	Timeout time.Duration
	// Beat is how often a device is told how far the stream is, which also keeps
	// proxies from closing a quiet connection; and how often a silent consumer is
	// looked at. Default 25 s.
	Beat time.Duration
	// Reply is how long a device may take to answer a ping, which it gets at each
	// beat. One that lost its network is forgotten then. Default 10 s.
	Reply time.Duration
}

// Service is one instance. Its methods are safe for concurrent use.
type Service struct {
	Config
	client    *conversation.Client
	hub       *hub
	feed      *feed
	audiences audiences
	subs      []*nats.Subscription

	connects *limit.Limiter // by user

	life context.Context // ends with Close
	end  context.CancelFunc
	jobs sync.WaitGroup // the feed and the clock

	mu       sync.Mutex // guards what follows
	closed   bool
	open     int            // connections
	openOf   map[string]int // by user
	sessions sync.WaitGroup // one for each device; Add with mu held, while not closed
}

// Bounds of how often devices connect: each may begin with a long catch-up.
var (
	allConnects  = limit.Rate{PerSecond: 500, Burst: 5_000}
	userConnects = limit.Rate{PerSecond: 1, Burst: 100}
)

// Start returns an instance that follows the stream, or tries to until it can:
// NotReady says why it can't. Close it.
func Start(cfg Config) (*Service, error) {
	s, err := newService(cfg)
	if err != nil {
		return nil, err
	}
	s.jobs.Go(func() { s.feed.run(s.life) })
	s.jobs.Go(s.beats)
	return s, nil
}

func newService(cfg Config) (*Service, error) {
	if len(cfg.Key) < token.MinKey {
		return nil, errors.New("presence: the token key is too short")
	}
	cfg.Buffer = or(cfg.Buffer, 256<<10)
	cfg.Remember = or(cfg.Remember, 1024)
	cfg.Timeout = or(cfg.Timeout, 10*time.Second)
	cfg.Beat = or(cfg.Beat, 25*time.Second)
	cfg.Reply = or(cfg.Reply, 10*time.Second)
	cfg.MaxDevices = or(cfg.MaxDevices, 5_000)
	cfg.MaxPerUser = or(cfg.MaxPerUser, 32)
	client, err := conversation.NewClient(cfg.NATS)
	if err != nil {
		return nil, err
	}
	s := &Service{
		Config: cfg, client: client, hub: newHub(cfg.Remember),
		connects: limit.New(allConnects, userConnects), openOf: map[string]int{},
	}
	if s.feed, err = newFeed(cfg, s.hub, &s.audiences); err != nil {
		return nil, err
	}
	if err := s.listen(); err != nil {
		return nil, err
	}
	s.life, s.end = context.WithCancel(context.Background())
	return s, nil
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Handler serves GET /v1/connect.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/connect", s.connect)
	return mux
}

// Begun is closed when the instance has been in order for the first time.
func (s *Service) Begun() <-chan struct{} { return s.feed.begun }

// NotReady returns why devices are sent away, "" if they aren't.
func (s *Service) NotReady() string { return s.hub.notReady() }

// Devices returns how many devices are connected and up to date.
func (s *Service) Devices() int { return s.hub.count() }

// Close tells all devices to go elsewhere, and waits until they have: 10 s at
// most. A second call does nothing.
func (s *Service) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end() // also those that are being brought up to date
	s.hub.dismiss(closeAway, "presence is shutting down: reconnect with your cursor")
	s.sessions.Wait()
	for _, sub := range s.subs {
		_ = sub.Unsubscribe() // fails only where the connection is closed
	}
	s.jobs.Wait()
}

// beats lets the hub's clock tick until the end.
func (s *Service) beats() {
	tick := time.NewTicker(min(time.Second, s.Beat))
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			s.hub.beat(now, s.Beat, s.Reply)
		case <-s.life.Done():
			return
		}
	}
}
