package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/broker"
	"github.com/lethe-im/lethe/internal/handler"
	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/repo"
)

// config is every setting of `worker run`; the other commands have parts of it.
// Each is a flag of that name and a variable (variableOf): NATS_URL,
// DATABASE_URL, HTTP_ADDR, LOG_LEVEL and LOG_FORMAT, and for the others
// LETHE_ and the flag in capitals.
//
// The tags range and zero are checked by [problems.outOfRange]; docs/settings.md
// has them all, with the reason to change each.
type config struct {
	natsConfig
	databaseConfig
	shardConfig
	logConfig
	planConfig
	limitConfig
	throttleConfig
	foregroundConfig
	serviceConfig
}

// foregroundConfig is how large deletions wait for the sake of other clients.
type foregroundConfig struct {
	ForegroundBackoff float64 `name:"foreground-backoff" group:"Throttling:" placeholder:"TIMES" default:"4" range:"0.01..100" zero:"off" help:"While other clients use the database, large deletions of all workers wait up to this many times as long as each batch took."`
}

func (c *config) check() problems {
	var p problems
	c.natsConfig.check(&p)
	c.databaseConfig.check(&p)
	c.shardConfig.check(&p)
	c.logConfig.check(&p)
	c.planConfig.check(&p)
	c.serviceConfig.check(&p)
	return p
}

// defaults are those that other packages have; in the tags below they stand as ${name}.
var defaults = kong.Vars{
	"inbox_prefix":    broker.DefaultInboxPrefix,
	"target":          purge.DefaultTarget.String(),
	"express_rows":    fmt.Sprint(handler.DefaultExpressRows),
	"max_attempts":    fmt.Sprint(handler.DefaultMaxAttempts),
	"max_connections": fmt.Sprint(repo.DefaultMaxConns),
	"http_addr":       ":8080",
}

// natsConfig is how to reach NATS.
type natsConfig struct {
	NATSURL     string `name:"nats-url" group:"NATS:" placeholder:"URL" default:"nats://127.0.0.1:4222" help:"Comma-separated addresses of the NATS servers."`
	NATSCreds   string `name:"nats-creds" group:"NATS:" placeholder:"FILE" help:"Credentials file (JWT and seed) of the NATS user."`
	NATSTLSCA   string `name:"nats-tls-ca" group:"NATS:" placeholder:"FILE" help:"PEM file of the authorities that sign the server's certificate. Without it: the system's."`
	NATSTLSCert string `name:"nats-tls-cert" group:"NATS:" placeholder:"FILE" help:"PEM file of the client's certificate; needs --nats-tls-key."`
	NATSTLSKey  string `name:"nats-tls-key" group:"NATS:" placeholder:"FILE" help:"PEM file of the client's key; needs --nats-tls-cert."`
	NATSInbox   string `name:"nats-inbox-prefix" group:"NATS:" placeholder:"PREFIX" default:"${inbox_prefix}" help:"Prefix of the subjects on which NATS replies."`
	NATSDomain  string `name:"nats-domain" group:"NATS:" placeholder:"DOMAIN" help:"JetStream domain that has the streams, where it isn't that of the server, as behind a leaf node."`

	SubjectPrefix string `name:"subject-prefix" group:"NATS:" placeholder:"PREFIX" help:"Prefix of the names of all subjects, streams and the consumer, so that several installations can share an account: 1 to 3 words of A-Z, a-z, 0-9, _ and - with dots between them, at most 64 bytes."`
}

func (c *natsConfig) check(p *problems) {
	for one := range strings.SplitSeq(c.NATSURL, ",") {
		one = strings.TrimSpace(one)
		if !strings.Contains(one, "://") {
			one = "nats://" + one // as the client reads it
		}
		if reason := badURL(one, "nats", "tls", "ws", "wss"); reason != "" {
			p.add("nats-url", "%s: expected nats://host:4222, tls://, ws:// or wss://, several separated by commas", reason)
		}
	}
	if !inboxPrefix(c.NATSInbox) {
		p.add("nats-inbox-prefix", "%q is not the beginning of a subject: expected words separated by dots, such as _INBOX_worker, without *, > and spaces", c.NATSInbox)
	}
	if strings.ContainsAny(c.NATSDomain, " \t\r\n.*>/\\") {
		p.add("nats-domain", "%q is not a domain: expected one word without dots, *, > and slashes, as in the server's jetstream {domain: …}", c.NATSDomain)
	}
	if _, err := conversation.NewNames(c.SubjectPrefix); err != nil {
		p.add("subject-prefix", "%v", err)
	}
	readable(p, "nats-creds", c.NATSCreds)
	readable(p, "nats-tls-ca", c.NATSTLSCA)
	readable(p, "nats-tls-cert", c.NATSTLSCert)
	readable(p, "nats-tls-key", c.NATSTLSKey)
	switch {
	case c.NATSTLSCert != "" && c.NATSTLSKey == "":
		p.add("nats-tls-key", "is missing: expected the key of --nats-tls-cert")
	case c.NATSTLSCert == "" && c.NATSTLSKey != "":
		p.add("nats-tls-cert", "is missing: expected the certificate of --nats-tls-key")
	}
}

// brokerConfig is how the broker reaches NATS.
func (c *natsConfig) brokerConfig(name string) broker.Config {
	return broker.Config{
		URL: c.NATSURL, Creds: c.NATSCreds, TLSCA: c.NATSTLSCA, TLSCert: c.NATSTLSCert, TLSKey: c.NATSTLSKey,
		InboxPrefix: c.NATSInbox, Domain: c.NATSDomain, Names: c.names(), Name: name,
	}
}

// names are the installation's, by the setting that has been checked.
func (c *natsConfig) names() conversation.Names {
	names, err := conversation.NewNames(c.SubjectPrefix)
	if err != nil {
		panic("BUG: unchecked: " + err.Error())
	}
	return names
}

// databaseConfig is how to reach Postgres.
type databaseConfig struct {
	DatabaseURL string `name:"database-url" group:"Postgres:" placeholder:"URL" help:"Connection string of the database: postgres://user:password@host:5432/name?sslmode=require, key=value pairs, or file:PATH of a file with one of these, which is read again for each new connection. Required. Only setup needs a direct connection; the others may go through a transaction pooler."`
}

func (c *databaseConfig) check(p *problems) {
	if c.DatabaseURL == "" {
		p.add("database-url", "is missing: expected postgres://user@host:5432/name, key=value pairs, or file:PATH of a file with one of these")
		return
	}
	ledger, err := repo.OpenLedger(context.Background(), c.DatabaseURL) // which doesn't connect yet
	if err != nil {
		p.add("database-url", "%s", strings.TrimPrefix(err.Error(), "database url: "))
		return
	}
	ledger.Close()
}

// logConfig is how to log.
type logConfig struct {
	LogLevel  string `name:"log-level" group:"Logging:" default:"info" placeholder:"LEVEL" help:"Minimum log level: debug, info, warn or error."`
	LogFormat string `name:"log-format" group:"Logging:" default:"text" placeholder:"FORMAT" help:"Format of the log on standard error: text or json."`
}

func (c *logConfig) check(p *problems) {
	p.oneOf("log-level", c.LogLevel, "debug", "info", "warn", "error")
	p.oneOf("log-format", c.LogFormat, "text", "json")
}

// logger returns the log that the settings ask for. They have been checked.
func (c *logConfig) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.LogLevel)) // one of the four words
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: logValue}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// logValue writes durations as 1.5s, in JSON too, and leaves out errors that are nil.
func logValue(_ []string, a slog.Attr) slog.Attr {
	switch {
	case a.Value.Kind() == slog.KindDuration:
		a.Value = slog.StringValue(a.Value.Duration().String())
	case a.Value.Kind() == slog.KindAny && a.Value.Any() == nil:
		return slog.Attr{}
	}
	return a
}

// planConfig says which rows a deletion removes.
type planConfig struct {
	Plan           string `name:"plan" group:"Plan:" placeholder:"FILE" help:"YAML file that names your tables and columns. Without it: the plan of the bundled schema chat."`
	AllowUnindexed bool   `name:"allow-unindexed" group:"Plan:" help:"Accept keys and foreign keys without a usable index. A deletion may then take hours."`
}

func (c *planConfig) check(p *problems) {
	if _, err := c.load(); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			if strings.TrimSpace(line) != "" {
				p.add("plan", "%s", line)
			}
		}
	}
}

// load reads the plan's file, or returns the bundled plan.
func (c *planConfig) load() (plan.Plan, error) {
	if c.Plan == "" {
		return plan.Bundled(), nil
	}
	data, err := os.ReadFile(c.Plan)
	if err != nil {
		return plan.Plan{}, fmt.Errorf("%w: expected a YAML file", err)
	}
	return plan.Parse(data)
}

// errNoPlan is what to do where nobody has named a plan, and the database has none of the
// bundled plan's tables.
var errNoPlan = errors.New("no plan is named, and the bundled one is for the sample schema chat, whose tables this database doesn't have: to try Lethe, " +
	"run `worker setup --sample-schema`; for your own tables, run `worker plan draft > plan.yaml`, and name it with " + labelOf("plan"))

// unnamed is err, or errNoPlan.
func (c *planConfig) unnamed(err error) error {
	if c.Plan == "" && errors.Is(err, plan.ErrNoTables) {
		return errNoPlan
	}
	return err
}

// inspect checks the plan against the tables. The error is that it couldn't: no file, or no
// database.
func (c *planConfig) inspect(ctx context.Context, databaseURL string, opts plan.Options) (*plan.Report, error) {
	p, err := c.load()
	var file *fs.PathError
	switch {
	case errors.As(err, &file):
		return nil, err
	case err != nil:
		return plan.Incomparable(err), nil
	}
	opts.AllowUnindexed, opts.Connections = c.AllowUnindexed, repo.DefaultMaxConns
	return repo.CheckPlan(ctx, databaseURL, p, opts)
}

// targetConfig is what a transaction keeps to, in the worker and in a replay.
type targetConfig struct {
	Target time.Duration `name:"target" group:"Limits:" placeholder:"DURATION" default:"${target}" range:"1ms..10s" help:"How long a transaction that deletes may take; batch sizes adapt to it."`
}

// expressConfig is where the express lane ends.
type expressConfig struct {
	ExpressRows int `name:"express-rows" group:"Limits:" placeholder:"N" default:"${express_rows}" range:"1..1000000" help:"Maximum number of messages that one deletion removes in the express lane. A deletion of more continues in the long lane."`
}

// limitConfig bounds what the worker does.
type limitConfig struct {
	targetConfig
	expressConfig
	MaxAttempts     int           `name:"max-attempts" group:"Limits:" placeholder:"N" default:"${max_attempts}" range:"1..1000" help:"Number of real failures after which a deletion fails for good. Waiting and outages don't count."`
	MaxConns        int           `name:"max-connections" group:"Limits:" placeholder:"N" default:"${max_connections}" range:"3..1000" help:"Maximum number of connections to the database."`
	LedgerRetention time.Duration `name:"ledger-retention" group:"Limits:" placeholder:"DURATION" default:"720h" range:"1s..876000h" zero:"forever" help:"How long the ledger keeps a finished deletion, and so how long the same command repeats its event."`
}

// throttleConfig is when large deletions are throttled, in the worker and in a replay.
type throttleConfig struct {
	MaxReplicaLag   time.Duration `name:"max-replica-lag" group:"Throttling:" placeholder:"DURATION" default:"5s" range:"1ms..24h" zero:"off" help:"Large deletions wait while a standby lags by more than this. Needs what deploy/postgres/roles.sql grants to lethe_setup."`
	IgnoreStandbys  string        `name:"ignore-standbys" group:"Throttling:" placeholder:"NAMES" help:"Comma-separated application_name list of standbys to ignore."`
	MaxLockWait     time.Duration `name:"max-lock-wait" group:"Throttling:" placeholder:"DURATION" default:"100ms" range:"1ms..24h" zero:"off" help:"Large deletions wait while another session has waited for a lock of a worker for longer than this, and than twice --target."`
	MaxWALRetained  byteSize      `name:"max-wal-retained" group:"Throttling:" placeholder:"SIZE" default:"4GiB" range:"1B.." zero:"off" help:"Large deletions wait while a replication slot or a failing archiver retains more WAL than this."`
	LongConcurrency int           `name:"long-concurrency" group:"Throttling:" placeholder:"N" default:"2" range:"1..64" zero:"no limit" help:"Maximum number of batches of large deletions that run at a time, over all workers of the database."`
}

// limits are the throttles' thresholds. A batch may take as long as target, and so may
// whoever waits for it.
func (c *throttleConfig) limits(target time.Duration) purge.Limits {
	l := purge.Limits{ReplicaLag: c.MaxReplicaLag, LockWait: c.MaxLockWait, WALRetained: int64(c.MaxWALRetained)}
	if l.LockWait > 0 {
		l.LockWait = max(l.LockWait, 2*target)
	}
	for name := range strings.SplitSeq(c.IgnoreStandbys, ",") {
		if name = strings.TrimSpace(name); name != "" {
			l.IgnoreStandbys = append(l.IgnoreStandbys, name)
		}
	}
	return l
}

// serviceConfig is the worker as a service.
type serviceConfig struct {
	HTTPAddr string `name:"http-addr" group:"Service:" placeholder:"ADDR" default:"${http_addr}" help:"Address of /livez, /readyz and /metrics: host:port, or :port for all interfaces."`
	Setup    bool   `name:"setup" group:"Service:" help:"First do what worker setup does without flags."`
}

func (c *serviceConfig) check(p *problems) {
	p.hostPort("http-addr", c.HTTPAddr)
}

// jsonConfig is how to print.
type jsonConfig struct {
	JSON bool `name:"json" help:"Print one JSON object a line, for programs."`
}
