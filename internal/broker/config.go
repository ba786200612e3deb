package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/telemetry"
)

const (
	defaultAckWait     = 30 * time.Second
	defaultSlots       = 1024
	defaultMaxInFlight = 2048
	// maxBytesInFlight is where pulling stops until something is settled, so that
	// hostile commands of a megabyte each don't fill the memory. One pull may go
	// beyond it by one message.
	maxBytesInFlight = 16 << 20
)

// DefaultInboxPrefix is that of the NATS client.
const DefaultInboxPrefix = "_INBOX"

// Config is where NATS is and how much a worker takes at once.
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
	// Domain is that of JetStream; "" for the domain of the server that is connected.
	Domain string
	// Names are those of the installation, and of the shard whose commands are pulled.
	Names conversation.Names
	// Name is the connection's, as monitoring shows it. "" means "lethe-worker".
	Name string
	// AckWait is how long the stream waits for a heartbeat before it gives a
	// command to another worker; at least 1 s. 0 means 30 s for a new consumer,
	// and leaves an existing one as it is.
	AckWait time.Duration
	// Slots is how many deliveries may be waiting or at work in the express
	// lane. 0 means 1,024.
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
		c.Metrics = telemetry.New(c.Names, func() float64 { return 0 })
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Gate == nil {
		c.Gate = openGate{}
	}
	return c, nil
}

// options are those of a worker's connection, which outlasts every outage.
func (b *Broker) options() []nats.Option {
	return []nats.Option{
		nats.Timeout(dialTimeout),
		nats.PingInterval(pingEvery),
		nats.MaxPingsOutstanding(maxPings),
		nats.RetryOnFailedConnect(true),
		nats.IgnoreAuthErrorAbort(), // credentials may be corrected while the worker runs
		nats.CustomReconnectDelay(reconnectDelay),
		nats.UseOldRequestStyle(), // a subscription for each answer: one that was refused is tried anew
		nats.ConnectHandler(func(nc *nats.Conn) { b.link.observe(nc, nil) }),
		nats.ReconnectHandler(func(nc *nats.Conn) { b.reconnected(nc) }),
		nats.DisconnectErrHandler(b.disconnected),
		nats.ReconnectErrHandler(b.link.observe),
		nats.ClosedHandler(func(nc *nats.Conn) { b.closed(nc) }),
		nats.ErrorHandler(b.asyncError),
	}
}

// Dial connects as [Connect] does, for a program that speaks to NATS by itself. Unlike
// Connect it fails at once where no server can be reached, but it survives a short
// interruption later on. Errors that the server reports on the side are not logged.
func Dial(cfg Config) (*nats.Conn, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	return cfg.dial(nats.Timeout(firstDialTimeout), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
}

// dial connects with the configured name, identity and inboxes. Files are read here
// once, so that a wrong path is an error of the configuration and not an outage.
func (c Config) dial(more ...nats.Option) (*nats.Conn, error) {
	opts := append(more, nats.Name(c.Name), nats.CustomInboxPrefix(c.InboxPrefix), nats.MaxReconnects(-1))
	if c.Creds != "" {
		if _, err := os.ReadFile(c.Creds); err != nil {
			return nil, fmt.Errorf("NATS credentials: %w", err)
		}
		opts = append(opts, nats.UserCredentials(c.Creds))
	}
	if c.TLSCert != "" {
		if _, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey); err != nil {
			return nil, fmt.Errorf("NATS client certificate: %w", err)
		}
		opts = append(opts, nats.ClientCert(c.TLSCert, c.TLSKey))
	}
	if c.TLSCA != "" {
		if _, err := os.ReadFile(c.TLSCA); err != nil {
			return nil, fmt.Errorf("NATS certificate authorities: %w", err)
		}
		opts = append(opts, nats.RootCAs(c.TLSCA))
	}
	nc, err := nats.Connect(c.URL, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS at %s: %w", redact(c.URL), err)
	}
	return nc, nil
}

// reconnectDelay is the wait after the given number of rounds over all servers:
// 50 ms, doubling, at most 2 s, and up to a fifth more, so that workers which
// lost a server together don't come back together.
func reconnectDelay(rounds int) time.Duration {
	const first, longest = 50 * time.Millisecond, 2 * time.Second
	d := longest
	if rounds >= 1 && rounds <= 6 {
		d = min(first<<(rounds-1), longest)
	}
	return d + rand.N(d/5)
}

// openGate is the gate of those who have none.
type openGate struct{}

func (openGate) Close(string, string) bool      { return true }
func (openGate) Open(string) bool               { return true }
func (openGate) Wait(ctx context.Context) error { return ctx.Err() }

// redact removes user and password from a comma-separated list of addresses.
func redact(list string) string {
	parts := strings.Split(list, ",")
	for i, part := range parts {
		part = strings.TrimSpace(part)
		if u, err := url.Parse(part); err == nil && u.Host != "" {
			u.User = nil
			part = u.String()
		} else if _, host, found := strings.Cut(part, "@"); found {
			part = host
		}
		parts[i] = part
	}
	return strings.Join(parts, ",")
}
