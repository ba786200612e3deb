package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/lethe-im/lethe/internal/broker"
	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/repo"
)

// config is every setting of `worker run`; the other commands have parts of it.
// Each is a flag of that name and a variable (variableOf): NATS_URL,
// DATABASE_URL, HTTP_ADDR, LOG_LEVEL and LOG_FORMAT, and for the others
// LETHE_ and the flag in capitals.
type config struct {
	natsConfig
	databaseConfig
	logConfig
	planConfig
	setupConfig
	paceConfig
	gentleConfig
	serviceConfig
}

func (c *config) check() problems {
	var p problems
	c.natsConfig.check(&p)
	c.databaseConfig.check(&p)
	c.logConfig.check(&p)
	c.planConfig.check(&p)
	c.setupConfig.check(&p)
	c.paceConfig.check(&p)
	c.gentleConfig.check(&p, c.Target)
	c.serviceConfig.check(&p)
	if c.MaxConns > 0 && c.MaxConns < c.leastConns() {
		p.add("max-connections", "%d is too few: expected at least %d: --express-lanes, --long-lanes, and two more", c.MaxConns, c.leastConns())
	}
	return p
}

// leastConns is how many connections the lanes may want at once, each of which
// has one; so have retention and throttles.
func (c *config) leastConns() int { return c.ExpressLanes + c.LongLanes + 2 }

// natsConfig is how to reach NATS.
type natsConfig struct {
	NATSURL     string `name:"nats-url" group:"NATS:" placeholder:"URL" default:"nats://127.0.0.1:4222" help:"Addresses of the NATS servers, with commas between them."`
	NATSCreds   string `name:"nats-creds" group:"NATS:" placeholder:"FILE" help:"Credentials file (JWT and seed) of the NATS user."`
	NATSTLSCA   string `name:"nats-tls-ca" group:"NATS:" placeholder:"FILE" help:"PEM file of the authorities that may sign the server's certificate, instead of the system's."`
	NATSTLSCert string `name:"nats-tls-cert" group:"NATS:" placeholder:"FILE" help:"PEM file of the client's certificate; needs --nats-tls-key."`
	NATSTLSKey  string `name:"nats-tls-key" group:"NATS:" placeholder:"FILE" help:"PEM file of the client's key; needs --nats-tls-cert."`
	NATSInbox   string `name:"nats-inbox-prefix" group:"NATS:" placeholder:"PREFIX" default:"_INBOX" help:"First part of the subjects that answers come on. One for each NATS user, with permissions to match, keeps answers from other users."`
}

func (c *natsConfig) check(p *problems) {
	for one := range strings.SplitSeq(c.NATSURL, ",") {
		one = strings.TrimSpace(one)
		if !strings.Contains(one, "://") {
			one = "nats://" + one // as the client reads it
		}
		if reason := badURL(one, "nats", "tls", "ws", "wss"); reason != "" {
			p.add("nats-url", "%s: expected nats://host:4222, tls://, ws:// or wss://, several with commas between them", reason)
		}
	}
	if !inboxPrefix(c.NATSInbox) {
		p.add("nats-inbox-prefix", "%q can't begin a subject: expected words with dots between them, such as _INBOX_worker, without *, > and spaces", c.NATSInbox)
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

// databaseConfig is how to reach Postgres.
type databaseConfig struct {
	DatabaseURL string `name:"database-url" group:"Postgres:" placeholder:"URL" help:"Address of the database, as a URL (postgres://user:password@host:5432/name?sslmode=require), as words (host=… dbname=…), or as file:PATH for a file that holds one of these, read again for each new connection. Required. A transaction pooler may stand in between, except for setup."`
}

func (c *databaseConfig) check(p *problems) {
	if c.DatabaseURL == "" {
		p.add("database-url", "is missing: expected postgres://user@host:5432/name or host=… dbname=…, or file:PATH for a file with one of these")
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
	LogLevel  string `name:"log-level" group:"Logging:" default:"info" placeholder:"LEVEL" help:"Least level that is logged: debug, info, warn or error."`
	LogFormat string `name:"log-format" group:"Logging:" default:"text" placeholder:"FORMAT" help:"Format of the log on standard error: text or json."`
}

func (c *logConfig) check(p *problems) {
	p.oneOf("log-level", c.LogLevel, "debug", "info", "warn", "error")
	p.oneOf("log-format", c.LogFormat, "text", "json")
}

// planConfig says which rows a deletion removes.
type planConfig struct {
	Plan           string `name:"plan" group:"What to delete:" placeholder:"FILE" help:"YAML file that names your tables and columns. Without it: the bundled schema chat."`
	AllowUnindexed bool   `name:"allow-unindexed" group:"What to delete:" help:"Go on where a key or foreign key has no usable index; deletions may then take hours."`
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

// setupConfig is what a setup makes. What isn't given is left as it is where it
// exists.
type setupConfig struct {
	SampleSchema        bool          `name:"sample-schema" group:"Setup:" help:"Setup also creates the schema chat, for trying out."`
	StreamReplicas      int           `name:"stream-replicas" group:"Setup:" placeholder:"N" help:"Copies of each stream in the NATS cluster, 1 to 5; 3 in production. New streams: 1."`
	CommandsMaxBytes    byteSize      `name:"commands-max-bytes" group:"Setup:" placeholder:"SIZE" help:"Most that the stream of commands holds; then it refuses new ones. New streams: 1GiB."`
	CommandsMaxPerApp   *int64        `name:"commands-max-per-app" group:"Setup:" placeholder:"N" help:"Maximum number of unfinished commands of one app. Beyond it the stream refuses that app's new commands alone. 0 for no limit. New streams: 50000."`
	EventsMaxBytes      byteSize      `name:"events-max-bytes" group:"Setup:" placeholder:"SIZE" help:"Most that the stream of events holds; then the workers wait. New streams: what the server has room for."`
	EventsMaxAge        time.Duration `name:"events-max-age" group:"Setup:" placeholder:"DURATION" help:"How long an event stays, for devices that were offline. New streams: 720h."`
	DeadLettersMaxBytes byteSize      `name:"dead-letters-max-bytes" group:"Setup:" placeholder:"SIZE" help:"Maximum size of the stream of dead letters, 8MiB or more. From half of it on, malformed commands get no letter; at the limit, commands that need one are deferred. New streams: 1GiB."`
	AckWait             time.Duration `name:"ack-wait" group:"Setup:" placeholder:"DURATION" help:"How long after a worker's crash another one goes on: redelivery, which setup writes into the consumer, and lease of a long deletion. New consumers, and leases: 30s."`
}

func (c *setupConfig) check(p *problems) {
	const leastBytes = 8 << 20 // some commands of the largest size
	if c.StreamReplicas != 0 {
		p.upTo("stream-replicas", c.StreamReplicas, 5)
	}
	for _, size := range []struct {
		flag string
		v    byteSize
	}{{"commands-max-bytes", c.CommandsMaxBytes}, {"events-max-bytes", c.EventsMaxBytes}, {"dead-letters-max-bytes", c.DeadLettersMaxBytes}} {
		if size.v != 0 && size.v < leastBytes {
			p.add(size.flag, "%d bytes is too small: expected 8MiB or more", size.v)
		}
	}
	if n := c.CommandsMaxPerApp; n != nil && *n < 0 {
		p.add("commands-max-per-app", "%d is negative: expected a number of commands, or 0 for no limit", *n)
	}
	if c.EventsMaxAge != 0 {
		p.lasting("events-max-age", c.EventsMaxAge, time.Minute, 10*365*24*time.Hour)
	}
	if c.AckWait != 0 {
		p.lasting("ack-wait", c.AckWait, 2*time.Second, time.Hour)
	}
}

// streams is what the broker's setup is asked for.
func (c *setupConfig) streams() broker.SetupOptions {
	return broker.SetupOptions{
		Replicas: c.StreamReplicas, CommandsMaxBytes: int64(c.CommandsMaxBytes), CommandsMaxPerApp: c.CommandsMaxPerApp, EventsMaxBytes: int64(c.EventsMaxBytes),
		DeadLettersMaxBytes: int64(c.DeadLettersMaxBytes), EventsMaxAge: c.EventsMaxAge,
	}
}

// batchConfig is how large the batches are, for the worker and for a replay.
type batchConfig struct {
	Target           time.Duration `name:"target" group:"Pace:" placeholder:"DURATION" default:"50ms" help:"How long a purging transaction may take; the batches adapt to it."`
	MinRows          int           `name:"min-rows" group:"Pace:" placeholder:"N" help:"Fewest rows that a batch shrinks to. Without it: 50, or --max-rows if that is less."`
	MaxRows          int           `name:"max-rows" group:"Pace:" placeholder:"N" default:"50000" help:"Most rows that a batch grows to."`
	StatementTimeout time.Duration `name:"statement-timeout" group:"Pace:" placeholder:"DURATION" default:"30s" help:"Ends a statement that hangs; a backstop, far above --target."`
	FlushAfter       string        `name:"flush-after" group:"Pace:" placeholder:"SIZE" default:"512kB" help:"backend_flush_after of the purging transactions, which keeps the kernel from writing much at once: 8kB to 2MB, or 0 for off."`
}

// paceConfig is how hard the worker works.
type paceConfig struct {
	batchConfig
	ExpressRows     int           `name:"express-rows" group:"Pace:" placeholder:"N" default:"1000" help:"Most messages that one deletion may lose in the express lane; one that has more goes on in the long lane."`
	BatchSize       int           `name:"batch-size" group:"Pace:" placeholder:"N" default:"256" help:"Most deletions that share one express transaction."`
	ExpressLanes    int           `name:"express-lanes" group:"Pace:" placeholder:"N" default:"2" help:"Express transactions at a time."`
	LongLanes       int           `name:"long-lanes" group:"Pace:" placeholder:"N" default:"2" help:"Long deletions at a time."`
	Slots           int           `name:"slots" group:"Pace:" placeholder:"N" default:"512" help:"Most commands that wait for the express lane or are in it; long ones give their place up."`
	MaxAttempts     int           `name:"max-attempts" group:"Pace:" placeholder:"N" default:"10" help:"Real failures after which a deletion is given up; waiting and outages don't count."`
	MaxConns        int           `name:"max-connections" group:"Pace:" placeholder:"N" default:"16" help:"Most connections to the database. --express-lanes of them are for small deletions alone, and opened at the start."`
	LedgerRetention time.Duration `name:"ledger-retention" group:"Pace:" placeholder:"DURATION" default:"720h" help:"How long the ledger remembers what is final, and so the same command repeats its event; 0 keeps it for ever."`
}

// leastRows is --min-rows or its default.
func (c *batchConfig) leastRows() int {
	const standard = 50
	if c.MinRows == 0 {
		return min(standard, c.MaxRows)
	}
	return c.MinRows
}

func (c *batchConfig) check(p *problems) {
	p.lasting("target", c.Target, time.Millisecond, 10*time.Second)
	if c.MinRows != 0 {
		p.upTo("min-rows", c.MinRows, 1_000_000)
	}
	p.upTo("max-rows", c.MaxRows, 10_000_000)
	if c.MaxRows > 0 && c.MinRows > c.MaxRows {
		p.add("min-rows", "%d is more than --max-rows, %d: expected at most that", c.MinRows, c.MaxRows)
	}
	p.lasting("statement-timeout", c.StatementTimeout, 100*time.Millisecond, time.Hour)
	if c.StatementTimeout > 0 && c.StatementTimeout < c.Target {
		p.add("statement-timeout", "%v is less than --target, %v: expected far more", c.StatementTimeout, c.Target)
	}
	if !flushSize(c.FlushAfter) {
		p.add("flush-after", "%q is not known: expected 0, or 8kB to 2MB, such as 512kB", c.FlushAfter)
	}
}

func (c *paceConfig) check(p *problems) {
	c.batchConfig.check(p)
	p.upTo("express-rows", c.ExpressRows, 1_000_000)
	p.upTo("batch-size", c.BatchSize, 10_000)
	p.upTo("express-lanes", c.ExpressLanes, 64)
	p.upTo("long-lanes", c.LongLanes, 64)
	p.upTo("slots", c.Slots, 10_000)
	p.upTo("max-attempts", c.MaxAttempts, 1000)
	p.upTo("max-connections", c.MaxConns, 1000)
	if c.LedgerRetention != 0 {
		p.lasting("ledger-retention", c.LedgerRetention, time.Second, 100*365*24*time.Hour)
	}
}

// serviceConfig is the worker as a service.
type serviceConfig struct {
	HTTPAddr string `name:"http-addr" group:"Service:" placeholder:"ADDR" default:":8080" help:"Where to serve /livez, /readyz and /metrics: host:port, or :port for all addresses."`
	Setup    bool   `name:"setup" group:"Service:" help:"First do what worker setup does."`
}

func (c *serviceConfig) check(p *problems) {
	p.hostPort("http-addr", c.HTTPAddr)
}

// jsonConfig is how to print.
type jsonConfig struct {
	JSON bool `name:"json" help:"Print for programs: one JSON object a line."`
}
