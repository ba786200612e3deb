package main

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/examples/chat/token"
)

// options are the program's settings: each a flag and a variable.
type options struct {
	Role string `arg:"" enum:"gateway,presence,all" help:"gateway: the HTTP API. presence: the WebSocket service. all: both on one address."`

	Addr        string `variable:"HTTP_ADDR" default:":8080" help:"Where to serve: host:port, or :port for all addresses."`
	App         string `variable:"CHAT_APP" default:"demo" help:"The app, as the workers call it."`
	TokenKey    string `variable:"CHAT_TOKEN_KEY" placeholder:"KEY" help:"Key that tokens are signed with, 32 bytes or more; the same for all roles. Better as a variable: command lines are seen by all."`
	DatabaseURL string `variable:"DATABASE_URL" placeholder:"URL" help:"Address of the database, for the gateway alone."`
	ReadURL     string `name:"read-database-url" variable:"READ_DATABASE_URL" placeholder:"URL" help:"Address of a standby, which may lag, for reading lists and histories. Without it they are read from the database."`
	PresenceURL string `variable:"CHAT_PRESENCE_URL" placeholder:"URL" help:"Where the page finds presence, such as ws://host:8081/v1/connect. Without it: the page's own address."`
	Demo        bool   `variable:"CHAT_DEMO" help:"Serve the page and issue tokens to every visitor. Never in production."`

	Shards    map[string]string `variable:"CHAT_SHARDS" mapsep:"," placeholder:"APP[/USER]=SHARD" help:"Comma-separated shards of the apps, or of single users, whose messages lie in one of several databases, for the gateway alone. Commands of the others name none."`
	Databases map[string]string `name:"shard-databases" variable:"CHAT_SHARD_DATABASES" mapsep:"," placeholder:"SHARD=URL" help:"Comma-separated addresses of the shards' databases. A shard without one is in that of DATABASE_URL. The one of shard groups has the shared groups."`

	Hosts []string `variable:"CHAT_HOSTS" placeholder:"NAME" help:"Comma-separated host names of the page, without ports. This machine's own (localhost) are always allowed."`

	NATSURL     string `variable:"NATS_URL" default:"nats://127.0.0.1:4222" placeholder:"URL" help:"Addresses of the NATS servers, with commas between them."`
	NATSCreds   string `variable:"NATS_CREDS" placeholder:"FILE" help:"Credentials file (JWT and seed) of the NATS user."`
	NATSInbox   string `variable:"NATS_INBOX_PREFIX" placeholder:"PREFIX" help:"Begins the subjects that answers come on, where permissions ask for one."`
	NATSTLSCA   string `variable:"NATS_TLS_CA" placeholder:"FILE" help:"PEM file of the authorities that may sign the server's certificate, instead of the system's."`
	NATSTLSCert string `variable:"NATS_TLS_CERT" placeholder:"FILE" help:"PEM file of the client's certificate."`
	NATSTLSKey  string `variable:"NATS_TLS_KEY" placeholder:"FILE" help:"PEM file of the client's key."`
}

func (o *options) serves(role string) bool { return o.Role == role || o.Role == "all" }

var (
	presenceURL = regexp.MustCompile(`^wss?://(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+)(:[0-9]+)?(/[A-Za-z0-9/._-]*)?$`) // it becomes a part of the page's policy
	hostName    = regexp.MustCompile(`^[a-z0-9._-]+$`)
)

// check returns what is wrong with the settings, all of it.
func (o *options) check() error {
	var errs []error
	if len(o.TokenKey) < token.MinKey {
		errs = append(errs, fmt.Errorf("--token-key (CHAT_TOKEN_KEY) has %d bytes; expected %d or more, such as from `openssl rand -hex 32`", len(o.TokenKey), token.MinKey))
	}
	if o.App == "" {
		errs = append(errs, errors.New("--app (CHAT_APP) is empty"))
	}
	if o.serves("gateway") && o.DatabaseURL == "" {
		errs = append(errs, errors.New("--database-url (DATABASE_URL) is missing: the gateway needs it"))
	}
	if err := checkNATSURL(o.NATSURL); err != nil {
		errs = append(errs, err)
	}
	for app, shard := range o.Shards {
		if _, err := conversation.ParseShard(shard); err != nil {
			errs = append(errs, fmt.Errorf("--shards (CHAT_SHARDS): app %q: %w", app, err))
		}
	}
	if o.PresenceURL != "" && !presenceURL.MatchString(o.PresenceURL) {
		errs = append(errs, errors.New("--presence-url (CHAT_PRESENCE_URL): not a WebSocket address: want ws://host:8081/v1/connect"))
	}
	for i, host := range o.Hosts {
		o.Hosts[i] = strings.ToLower(strings.TrimSpace(host))
		if net.ParseIP(o.Hosts[i]) == nil && !hostName.MatchString(o.Hosts[i]) {
			errs = append(errs, fmt.Errorf("--hosts (CHAT_HOSTS): %q is not a host name: want names such as chat.example, without scheme and port", host))
		}
	}
	if (o.NATSTLSCert == "") != (o.NATSTLSKey == "") {
		errs = append(errs, errors.New("--nats-tls-cert and --nats-tls-key belong together"))
	}
	return errors.Join(errs...)
}

// connect connects to NATS and keeps connected until it is closed, also if no
// server can be reached yet.
func (o *options) connect() (*nats.Conn, error) {
	opts := []nats.Option{
		nats.Name("chat-" + o.Role),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		// Nothing is kept to be sent later: who asks is told now that it failed.
		nats.ReconnectBufSize(-1),
	}
	if o.NATSCreds != "" {
		opts = append(opts, nats.UserCredentials(o.NATSCreds))
	}
	if o.NATSInbox != "" {
		opts = append(opts, nats.CustomInboxPrefix(o.NATSInbox))
	}
	if o.NATSTLSCA != "" {
		opts = append(opts, nats.RootCAs(o.NATSTLSCA))
	}
	if o.NATSTLSCert != "" {
		opts = append(opts, nats.ClientCert(o.NATSTLSCert, o.NATSTLSKey))
	}
	nc, err := nats.Connect(strings.ReplaceAll(o.NATSURL, " ", ""), opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	return nc, nil
}
