package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/internal/telemetry"
)

const (
	defaultAckWait     = 30 * time.Second
	defaultSlots       = 512
	defaultMaxInFlight = 2048
	// bytesInHand is where pulling stops until something is settled, so that
	// hostile commands of a megabyte each don't fill the memory. One pull may go
	// beyond it by one message.
	bytesInHand = 16 << 20
)

// DefaultInboxPrefix is that of the NATS client.
const DefaultInboxPrefix = "_INBOX"

// Config says where NATS is and how much a worker takes at once.
type Config struct {
	// URL is a server's address, or several with commas between them.
	URL string
	// Creds is the path of a credentials file (JWT and seed); "" for none.
	Creds string
	// TLSCert and TLSKey are the paths of a client's certificate and key in PEM;
	// both or neither.
	TLSCert, TLSKey string
	// TLSCA is the path of the certificates that the server's is checked with;
	// "" for the system's.
	TLSCA string
	// InboxPrefix begins the subjects that answers come on, so that permissions can
	// keep other users from reading them. "" means "_INBOX".
	InboxPrefix string
	// Name is the connection's, as monitoring shows it. "" means "lethe-worker".
	Name string
	// AckWait is how long the stream waits for a sign of life before it gives a
	// command to another worker; at least 1 s. 0 means 30 s for a new consumer,
	// and leaves an existing one as it is.
	AckWait time.Duration
	// Slots is how many deliveries may be waiting or at work in the express
	// lane. 0 means 512.
	Slots int
	// MaxInFlight bounds all deliveries in flight, those that left their slot too.
	// 0 means 2048, or Slots if that is more.
	MaxInFlight int
	// Metrics are counted into. Nil means into none.
	Metrics *telemetry.Metrics
	// Log gets what happens to the connection and each delivery's outcome. Nil
	// means nowhere.
	Log *slog.Logger
	// Gate is closed while NATS is at fault, under the causes "nats" (no
	// connection), "commands" (no pulling) and "acks" (no settling). Nil means
	// that nobody asks.
	Gate gate
}

// complete checks the configuration and fills in what is zero.
func (c Config) complete() (Config, error) {
	switch {
	case c.URL == "":
		return c, errors.New("NATS: no address")
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return c, errors.New("NATS: a client's certificate needs its key, and a key its certificate")
	case c.AckWait != 0 && c.AckWait < time.Second:
		return c, fmt.Errorf("NATS: ack wait is %v; expected at least 1s", c.AckWait)
	case c.Slots < 0 || c.MaxInFlight < 0:
		return c, fmt.Errorf("NATS: slots %d, at most %d in flight; expected positive numbers", c.Slots, c.MaxInFlight)
	}
	if c.Name == "" {
		c.Name = "lethe-worker"
	}
	if c.InboxPrefix == "" {
		c.InboxPrefix = DefaultInboxPrefix
	}
	if c.Slots == 0 {
		c.Slots = defaultSlots
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = max(defaultMaxInFlight, c.Slots)
	}
	if c.Metrics == nil {
		c.Metrics = telemetry.New(func() float64 { return 0 })
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Gate == nil {
		c.Gate = openGate{}
	}
	return c, nil
}

// options are the connection's. Files are read here once, so that a wrong path
// is an error of the configuration and not an outage.
func (b *Broker) options() ([]nats.Option, error) {
	opts := []nats.Option{
		nats.Name(b.cfg.Name),
		nats.CustomInboxPrefix(b.cfg.InboxPrefix),
		nats.Timeout(dialTimeout),
		nats.PingInterval(pingEvery),
		nats.MaxPingsOutstanding(pingsUnanswered),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // credentials may be put right while the worker runs
		nats.CustomReconnectDelay(reconnectDelay),
		nats.UseOldRequestStyle(), // a subscription for each answer: one that was refused is tried anew
		nats.ConnectHandler(func(nc *nats.Conn) { b.link.observe(nc, nil) }),
		nats.ReconnectHandler(func(nc *nats.Conn) { b.reconnected(nc) }),
		nats.DisconnectErrHandler(b.disconnected),
		nats.ReconnectErrHandler(b.link.observe),
		nats.ClosedHandler(func(nc *nats.Conn) { b.closed(nc) }),
		nats.ErrorHandler(b.asyncError),
	}
	if b.cfg.Creds != "" {
		if _, err := os.ReadFile(b.cfg.Creds); err != nil {
			return nil, fmt.Errorf("NATS credentials: %w", err)
		}
		opts = append(opts, nats.UserCredentials(b.cfg.Creds))
	}
	if b.cfg.TLSCert != "" {
		if _, err := tls.LoadX509KeyPair(b.cfg.TLSCert, b.cfg.TLSKey); err != nil {
			return nil, fmt.Errorf("NATS client certificate: %w", err)
		}
		opts = append(opts, nats.ClientCert(b.cfg.TLSCert, b.cfg.TLSKey))
	}
	if b.cfg.TLSCA != "" {
		if _, err := os.ReadFile(b.cfg.TLSCA); err != nil {
			return nil, fmt.Errorf("NATS certificate authorities: %w", err)
		}
		opts = append(opts, nats.RootCAs(b.cfg.TLSCA))
	}
	return opts, nil
}

// reconnectDelay is the pause after the given number of rounds over all servers:
// 50 ms, doubling, at most 2 s, and up to a fifth more, so that workers which
// lost a server together don't come back together.
func reconnectDelay(rounds int) time.Duration {
	const first, most = 50 * time.Millisecond, 2 * time.Second
	d := most
	if rounds >= 1 && rounds <= 6 {
		d = min(first<<(rounds-1), most)
	}
	return d + rand.N(d/5)
}

// openGate is the gate of those who have none.
type openGate struct{}

func (openGate) Close(string, string) bool      { return true }
func (openGate) Open(string) bool               { return true }
func (openGate) Wait(ctx context.Context) error { return ctx.Err() }
