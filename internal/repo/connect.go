package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// connectTimeout bounds the attempt to connect to one server, unless the
	// connection string has a connect_timeout.
	connectTimeout = 5 * time.Second
	// pingTimeout is how long an idle connection may take to answer before it counts
	// as broken.
	pingTimeout = 2 * time.Second
	// idleTime is how long a connection stays open unused: others may be short of it.
	idleTime = 10 * time.Second
	// unacknowledged is how long the network may keep what was sent before the
	// operating system, where it can, gives a connection up.
	unacknowledged = 9 * time.Second
)

// urlFile begins a database's address that is in a file.
const urlFile = "file:"

// source is where connections come from. What one needs is read again for each:
// passwords and certificates may change while the worker runs. Safe for concurrent
// use.
type source struct {
	url        string        // a connection string, or file: and the path of a file with one
	pooler     atomic.Bool   // a pooler stands in between
	checkAfter time.Duration // how long a transaction may take unchecked; 0 for the constant
	lock       time.Duration // how long a statement that is being prepared waits for a lock; 0 for any time
}

// text returns the connection string.
func (s *source) text() (string, error) {
	path, found := strings.CutPrefix(s.url, urlFile)
	if !found {
		return s.url, nil
	}
	path = strings.TrimPrefix(path, "//") // file:///run/secrets/url
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("database url: %w: expected a file with the connection string", err)
	}
	if len(strings.TrimSpace(string(text))) == 0 {
		return "", fmt.Errorf("database url: file %s is empty: expected the connection string", path)
	}
	return strings.TrimSpace(string(text)), nil
}

// connConfig reads all that a connection needs: the connection string, the password
// file, certificates and keys. No error of it shows any part of the connection
// string, where a password may be anywhere once it is malformed.
func (s *source) connConfig() (*pgx.ConnConfig, error) {
	text, err := s.text()
	if err != nil {
		return nil, err
	}
	c, detect, err := parseURL(text)
	if err != nil {
		return nil, fmt.Errorf("database url: %w", err)
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "lethe"
	}
	c.RuntimeParams["client_encoding"] = "UTF8" // stronger than what the role and the database say
	several := slices.ContainsFunc(c.Fallbacks, func(f *pgconn.FallbackConfig) bool { return f.Host != c.Host || f.Port != c.Port })
	if several && c.ValidateConnect == nil {
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite // no other is of use
	}
	c.DialFunc = (&net.Dialer{
		Timeout:         c.ConnectTimeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: unacknowledged / 3, Interval: unacknowledged / 3, Count: 2},
		Control:         limitUnacknowledged,
	}).DialContext
	switch {
	case !s.pooler.Load():
		c.AfterConnect = func(ctx context.Context, conn *pgconn.PgConn) error { return s.prepareSession(ctx, conn, detect) }
	case detect:
		c.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	return c, nil
}

// parseURL reads a connection string. detect says that it leaves to us how
// statements are sent.
func parseURL(text string) (c *pgx.ConnConfig, detect bool, err error) {
	if reason := ambiguous(text); reason != "" {
		return nil, false, errors.New(reason)
	}
	pc, err := pgxpool.ParseConfig(text) // for it takes the pool's settings out
	if err != nil {
		return nil, false, errors.New(malformed(err))
	}
	for name := range pc.ConnConfig.RuntimeParams {
		if !parameterName.MatchString(name) {
			return nil, false, errors.New("invalid name of a setting:  " + encodeAdvice)
		}
	}
	detect, err = setExecMode(pc.ConnConfig, text)
	return pc.ConnConfig, detect, err
}

const encodeAdvice = "write special characters of user and password as %XX (@ as %40, / as %2F), or quote the value ('…') of a key=value pair"

// parameterName is what a server's setting can be called.
var parameterName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)

// ambiguous says why a connection string that can be read may not mean what its
// author meant: a password with a special character makes a host or a database of
// its parts, which errors would then show. "" if all is clear.
func ambiguous(text string) string {
	_, rest, isURL := strings.Cut(text, "://")
	if !isURL || !strings.HasPrefix(text, "postgres") {
		return ""
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, path, _ := strings.Cut(rest, "/")
	if strings.Contains(text, "#") || strings.Contains(path, "@") || strings.Count(authority, "@") > 1 {
		return "can't tell where user and password end: " + encodeAdvice
	}
	for pair := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if name, err := url.QueryUnescape(name); err != nil || name != "" && !parameterName.MatchString(name) {
			return "a setting behind the ? has a name that can't be one: " + encodeAdvice
		}
	}
	return ""
}

// reasons are what the parser says of a connection string, without what it quotes.
var reasons = []string{
	"could not match", "failed to read service", "invalid sslcertmode", "invalid connect_timeout", "invalid port", "failed to configure TLS",
	"unknown target_session_attrs value", "invalid min_protocol_version", "invalid max_protocol_version", "unknown channel_binding value",
	"invalid require_auth", "cannot parse statement_cache_capacity", "cannot parse description_cache_capacity", "invalid default_query_exec_mode",
	"cannot parse pool_",
}

// malformed says what is wrong with a connection string that can't be read. The
// parser's own text quotes it, and can't know which part of it is the password.
func malformed(err error) string {
	var file *fs.PathError
	if errors.As(err, &file) {
		return fmt.Sprintf("%s %s: %v", file.Op, file.Path, file.Err)
	}
	text := err.Error()
	var parse *pgconn.ParseConfigError
	for _, reason := range reasons {
		if errors.As(err, &parse) && strings.Contains(text, ": "+reason) && !strings.Contains(parse.ConnString, reason) {
			return strings.TrimSuffix(reason, "_")
		}
	}
	return "not a connection string: want postgres://user:password@host:5432/name or key=value pairs, a value with a space in quotes"
}

// setExecMode decides how statements are sent, and reports whether that was left to
// us: then they are prepared and kept, unless a pooler stands in between.
func setExecMode(c *pgx.ConnConfig, text string) (ours bool, err error) {
	plain, err := pgconn.ParseConfig(text)
	if err != nil {
		return false, errors.New(malformed(err))
	}
	chosen := plain.RuntimeParams["default_query_exec_mode"]
	if mode := c.DefaultQueryExecMode; mode == pgx.QueryExecModeExec || mode == pgx.QueryExecModeSimpleProtocol {
		return false, fmt.Errorf("default_query_exec_mode=%s can't send the worker's arrays: want cache_statement, cache_describe or describe_exec, "+
			"or leave it out: a pooler is detected", chosen)
	}
	if c.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement && c.StatementCacheCapacity == 0 {
		c.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	if c.DefaultQueryExecMode == pgx.QueryExecModeCacheDescribe && c.DescriptionCacheCapacity == 0 {
		c.DefaultQueryExecMode = pgx.QueryExecModeDescribeExec
	}
	return chosen == "" && c.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement, nil
}

// directSession says which process serves the client. Where the client is connected
// to that process itself, the session is ours alone, and takes what each transaction
// would have to set ([ownSettings]). So defaults of the role or the database don't count
// outside of transactions either: while it is idle in a pool, and when statements are
// prepared, which takes locks on their tables and waits for them. $2: for how long.
var directSession = `select pg_catalog.pg_backend_pid(),
case when pg_catalog.pg_backend_pid() operator(pg_catalog.=) $1::pg_catalog.int8 then pg_catalog.concat(
  pg_catalog.set_config('statement_timeout', '0', false), pg_catalog.set_config('lock_timeout', $2::pg_catalog.text, false),
  case when pg_catalog.current_setting('idle_session_timeout', true) is not null then pg_catalog.set_config('idle_session_timeout', '0', false) end,
  ` + sessionSettings() + `)
end`

// errPooler is returned by the connection that found a pooler. The next one is as a
// pooler needs it.
var errPooler = errors.New("connected through a pooler")

// prepareSession finds out, on a new connection, whether a pooler stands in between. A
// pooler gives its clients process ids of its own, and may run a statement on another
// connection than the one it was prepared on. prepares says that this connection would
// prepare them.
func (s *source) prepareSession(ctx context.Context, conn *pgconn.PgConn, prepares bool) error {
	pid := fmt.Sprint(conn.PID())
	res := conn.ExecParams(ctx, directSession, [][]byte{[]byte(pid), fmt.Appendf(nil, "%dms", s.lock.Milliseconds())}, nil, nil, nil).Read()
	if res.Err != nil {
		return res.Err
	}
	if len(res.Rows) == 1 && string(res.Rows[0][0]) != pid {
		s.pooler.Store(true)
		if prepares {
			return errPooler
		}
	}
	return nil
}

// newPools makes a pool that connects when it is first used.
func (s *source) newPools(ctx context.Context, maxConns int32) (*pools, error) {
	p := &pools{freed: make(chan struct{}, 1)}
	pc, err := s.poolConfig(maxConns, p.reset)
	if err != nil {
		return nil, err
	}
	return p, p.add(ctx, pc)
}

// poolConfig is how a pool makes connections. broken is called when one has fallen
// silent.
func (s *source) poolConfig(maxConns int32, broken func()) (*pgxpool.Config, error) {
	pc, err := pgxpool.ParseConfig("")
	if err == nil {
		pc.ConnConfig, err = s.connConfig()
	}
	if err != nil {
		return nil, err
	}
	pc.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
		fresh, err := s.connConfig()
		if err == nil {
			*c = *fresh
		}
		return err
	}
	pc.ShouldPing = func(ctx context.Context, p pgxpool.ShouldPingParams) bool {
		return p.IdleDuration > time.Second && !answers(ctx, p.Conn, broken)
	}
	pc.MaxConns = maxConns
	pc.PingTimeout, pc.MaxConnIdleTime, pc.HealthCheckPeriod = pingTimeout, idleTime, idleTime/2
	return pc, nil
}

// answers reports whether an idle connection still leads to a server. Where that
// doesn't say a word, the others lead there, too.
func answers(ctx context.Context, conn *pgx.Conn, broken func()) bool {
	limited, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	err := conn.Ping(limited)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		_ = conn.PgConn().Conn().Close() // a farewell would wait for an answer, too
		broken()
	}
	return err == nil
}
