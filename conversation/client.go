package conversation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// defaultTimeout bounds a request whose context has no deadline.
const defaultTimeout = 5 * time.Second

// Client publishes commands and follows their events. It is safe for
// concurrent use, leaves no goroutine behind after a call, and needs no closing.
type Client struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	names   Names // of no shard
	timeout time.Duration
	shardOf func(Command) string
}

// ClientOption changes how NewClient builds a Client.
type ClientOption func(*clientConfig)

type clientConfig struct {
	domain  string
	prefix  string
	timeout time.Duration
	shardOf func(Command) string
}

// WithDomain talks to the JetStream of that domain, as behind a leaf node. "" is that of
// the server.
func WithDomain(domain string) ClientOption {
	return func(c *clientConfig) { c.domain = domain }
}

// WithPrefix uses the subjects and streams of the installation with that prefix; see
// [Names]. "" is none. NewClient returns the error of a prefix that NewNames refuses.
func WithPrefix(prefix string) ClientOption {
	return func(c *clientConfig) { c.prefix = prefix }
}

// WithTimeout bounds each request whose context has no deadline. 0 or less
// means the default of 5 s.
func WithTimeout(d time.Duration) ClientOption {
	return func(c *clientConfig) { c.timeout = d }
}

// WithShard has Delete publish each command to the shard that shardOf names. "" is for
// commands whose shard the producer doesn't know: they go where they went without this
// option. Another name that ParseShard refuses is an error of Delete. shardOf must be
// safe for concurrent use; it sees the command with its id.
func WithShard(shardOf func(Command) string) ClientOption {
	return func(c *clientConfig) { c.shardOf = shardOf }
}

// NewClient returns a client over nc, which stays the caller's to close. It
// asks the server nothing yet.
func NewClient(nc *nats.Conn, opts ...ClientOption) (*Client, error) {
	if nc == nil {
		return nil, errors.New("conversation client: needs a connection to NATS")
	}
	cfg := clientConfig{timeout: defaultTimeout, shardOf: func(Command) string { return "" }}
	for _, opt := range opts {
		opt(&cfg)
	}
	if cfg.timeout <= 0 {
		cfg.timeout = defaultTimeout
	}
	names, err := NewNames(cfg.prefix)
	if err != nil {
		return nil, fmt.Errorf("conversation client: %w", err)
	}
	jsOpts := []jetstream.JetStreamOpt{jetstream.WithDefaultTimeout(cfg.timeout)}
	var js jetstream.JetStream
	if cfg.domain == "" {
		js, err = jetstream.New(nc, jsOpts...)
	} else {
		js, err = jetstream.NewWithDomain(nc, cfg.domain, jsOpts...)
	}
	if err != nil {
		return nil, fmt.Errorf("conversation client: %w", err)
	}
	return &Client{nc: nc, js: js, names: names, timeout: cfg.timeout, shardOf: cfg.shardOf}, nil
}

// Receipt confirms that a command is stored.
type Receipt struct {
	// CommandID is the command's, also the one that Delete chose. It is set on
	// an error too, once the command was valid: send the same id again.
	CommandID string
	// Stream has stored the command, and Sequence is its place there.
	Stream   string
	Sequence uint64
}

// Unfinished reports whether the command of a receipt is still in its stream. Workers take
// it off when all its events, and its dead letter if it needs one, are stored. The error wraps
// ErrNoStream or ErrNotPermitted, or says that the stream is one that keeps commands, so that
// nothing there shows their end.
func (c *Client) Unfinished(ctx context.Context, r Receipt) (bool, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	ctx, done := c.untilDenied(ctx, "$JS.")
	defer done()
	there, err := c.inStream(ctx, r)
	if err != nil {
		return false, fmt.Errorf("command %s at %d of %s: %w", r.CommandID, r.Sequence, r.Stream, orDenied(ctx, err))
	}
	return there, nil
}

func (c *Client) inStream(ctx context.Context, r Receipt) (bool, error) {
	stream, err := c.js.Stream(ctx, r.Stream)
	if err != nil {
		return false, c.explainStream(r.Stream, err)
	}
	info := stream.CachedInfo()
	if info.Config.Retention != jetstream.WorkQueuePolicy {
		return false, errors.New("the stream keeps finished commands, as one does that shards source")
	}
	if r.Sequence < info.State.FirstSeq {
		return false, nil
	}
	_, err = stream.GetMsg(ctx, r.Sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	return err == nil, c.explainStream(r.Stream, err)
}

// DeleteOption changes one Delete.
type DeleteOption func(*deleteConfig)

type deleteConfig struct{ trace Trace }

// WithTrace sends a trace context along, which the events will carry.
func WithTrace(t Trace) DeleteOption {
	return func(c *deleteConfig) { c.trace = t }
}

// Delete publishes cmd on its app's subject, which for ScopeEveryone is
// DeleteEveryoneSubject, and waits until the stream has stored it. An empty CommandID is filled with NewCommandID. The error is an
// *InvalidError, or wraps ErrNoStream, ErrStreamFull, ErrAppFull, ErrTooLarge,
// ErrNotPermitted or ErrUnconfirmed, or is the context's. After ErrUnconfirmed
// or a context's end the command may be stored nevertheless; sending it again
// with the receipt's CommandID is always safe.
func (c *Client) Delete(ctx context.Context, cmd Command, opts ...DeleteOption) (Receipt, error) {
	var cfg deleteConfig
	for _, opt := range opts {
		opt(&cfg)
	}
	if cmd.CommandID == "" {
		cmd.CommandID = NewCommandID()
	}
	if err := cmd.Validate(); err != nil {
		return Receipt{}, fmt.Errorf("invalid command: %w", err)
	}
	shard, err := c.shard(cmd)
	if err != nil {
		return Receipt{CommandID: cmd.CommandID}, fmt.Errorf("command %s: %w", cmd.CommandID, err)
	}
	msg, err := commandMsg(c.names.InShard(shard), cmd, cfg.trace)
	if err != nil {
		return Receipt{}, fmt.Errorf("command %s: %w", cmd.CommandID, err)
	}
	receipt := Receipt{CommandID: cmd.CommandID}
	ack, err := c.publish(ctx, msg)
	if err != nil {
		return receipt, fmt.Errorf("command %s: %w", cmd.CommandID, err)
	}
	receipt.Stream, receipt.Sequence = ack.Stream, ack.Sequence
	return receipt, nil
}

// shard is where cmd goes.
func (c *Client) shard(cmd Command) (Shard, error) {
	name := c.shardOf(cmd)
	if name == "" {
		return "", nil
	}
	return ParseShard(name)
}

// commandMsg builds the message of a valid command. It has no Nats-Msg-Id: the
// stream's window is one for all apps, so that one could make the stream drop
// another's command. The ledger alone recognizes a repetition.
func commandMsg(n Names, cmd Command, trace Trace) (*nats.Msg, error) {
	cmd.RequestedAt = cmd.RequestedAt.UTC()
	data, err := json.Marshal(cmd)
	if err != nil {
		return nil, err
	}
	subject := n.CommandSubject(cmd.AppID)
	if cmd.Scope == ScopeEveryone {
		subject = n.DeleteEveryoneSubject(cmd.AppID)
	}
	msg := nats.NewMsg(subject)
	trace.Set(msg.Header)
	msg.Data = data
	return msg, nil
}

// publish names no expected stream: the operator may have mapped the subject to
// another shard's, and the server would compare the stream's name there.
func (c *Client) publish(ctx context.Context, msg *nats.Msg) (*jetstream.PubAck, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	ctx, done := c.untilDenied(ctx, msg.Subject)
	defer done()
	ack, err := c.js.PublishMsg(ctx, msg)
	if err != nil {
		return nil, c.explainPublish(msg, orDenied(ctx, err))
	}
	if !c.names.IsCommandsStream(ack.Stream) {
		return nil, fmt.Errorf("%w: the stream %s has taken %s: remove the subject there and run `worker setup`, or use the prefix that it was run with", ErrNoStream, ack.Stream, msg.Subject)
	}
	return ack, nil
}

// bound gives ctx the client's timeout if it has no deadline of its own.
func (c *Client) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.timeout)
}
