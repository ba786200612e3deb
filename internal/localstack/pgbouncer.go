package localstack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// ErrNoPgBouncer says that this machine has no PgBouncer to start.
var ErrNoPgBouncer = errors.New(`no PgBouncer found: "make deps" installs it, or do it yourself (apt-get install pgbouncer, dnf install pgbouncer, ` +
	`brew install pgbouncer), or name the program in LETHE_PGBOUNCER`)

// PgBouncer is a connection pooler in front of a database's server. Safe for
// concurrent use.
type PgBouncer struct {
	program string
	env     []string
	folder  *folder
	who     account
	port    *port
	through string

	mu     sync.Mutex // guards what follows; held through a start or a stop
	server *process   // nil when stopped
	closed bool
}

// StartPgBouncer starts a PgBouncer in transaction mode in front of the server of the
// database at address, for the address's user and those named besides, none of whom
// needs a password for it. settings are pgbouncer.ini's, above the package's own. It
// returns [ErrNoPgBouncer] where there is none. Close it; if the process ends without,
// however it ends, neither a process nor a file stays behind.
func StartPgBouncer(ctx context.Context, address string, settings map[string]string, users ...string) (*PgBouncer, error) {
	program, env, err := findPgBouncer()
	if err != nil {
		return nil, err
	}
	who, err := serverAccount() // it refuses to run as root as well
	if err != nil {
		return nil, err
	}
	server, err := pgconn.ParseConfig(address)
	if err != nil {
		return nil, err
	}
	b := &PgBouncer{program: program, env: env, who: who}
	if b.port, err = reservePort(); err != nil { //nolint:contextcheck // it takes no time
		return nil, err
	}
	b.through = throughProxy(address, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: b.port.number})
	if b.folder, err = newFolder(ctx, clusterParents(who, false), "lethe-pgbouncer-"); err != nil {
		return nil, errors.Join(err, b.port.release())
	}
	if err := errors.Join(b.configure(server, settings, append(users, server.User)), b.Start(ctx)); err != nil {
		return nil, errors.Join(err, b.Close()) //nolint:contextcheck // it bounds itself
	}
	return b, nil
}

// findPgBouncer is the search of scripts/deps. It also returns the environment that the
// program needs: a private copy brings libraries.
func findPgBouncer() (program string, env []string, err error) {
	cache := os.Getenv("XDG_CACHE_HOME")
	if home, err := os.UserHomeDir(); cache == "" && err == nil {
		cache = filepath.Join(home, ".cache")
	}
	env = []string{"PATH=/usr/bin:/bin"}
	for _, program := range []string{os.Getenv("LETHE_PGBOUNCER"), "pgbouncer", "/usr/sbin/pgbouncer"} {
		if found, err := exec.LookPath(program); err == nil {
			return found, env, nil
		}
	}
	private := filepath.Join(cache, "lethe", "pgbouncer")
	libraries, _ := filepath.Glob(filepath.Join(private, "usr/lib/*-linux-gnu*")) // fails for a bad pattern alone
	found, err := exec.LookPath(filepath.Join(private, "usr/sbin/pgbouncer"))
	if err != nil {
		return "", nil, ErrNoPgBouncer
	}
	return found, append(env, "LD_LIBRARY_PATH="+strings.Join(libraries, ":")), nil
}

// configure writes the settings' file and the list of users.
func (b *PgBouncer) configure(server *pgconn.Config, settings map[string]string, users []string) error {
	all := map[string]string{
		"listen_addr": "127.0.0.1", "listen_port": strconv.Itoa(b.port.number), "unix_socket_dir": "",
		"auth_type": "trust", "auth_file": filepath.Join(b.folder.path, "users"), "pool_mode": "transaction",
	}
	for name, value := range settings {
		all[name] = value
	}
	var ini, list strings.Builder
	fmt.Fprintf(&ini, "[databases]\n* = host=%s port=%d\n[pgbouncer]\n", server.Host, server.Port)
	for name, value := range all {
		fmt.Fprintf(&ini, "%s = %s\n", name, value)
	}
	for _, user := range users {
		fmt.Fprintf(&list, "%q \"\"\n", user)
	}
	err := errors.Join(os.WriteFile(b.settings(), []byte(ini.String()), 0o644), //nolint:gosec // it runs as somebody else
		os.WriteFile(all["auth_file"], []byte(list.String()), 0o644)) //nolint:gosec // the same
	return errors.Join(err, b.who.own(b.folder.path))
}

func (b *PgBouncer) settings() string { return filepath.Join(b.folder.path, "pgbouncer.ini") }

// URL is the database's address through PgBouncer. It stays the same when that
// restarts.
func (b *PgBouncer) URL() string { return b.through }

// Start starts PgBouncer again after Stop, at the same URL, and waits until it takes
// connections.
func (b *PgBouncer) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.server != nil && !b.server.ended() {
		return errors.New("PgBouncer runs already")
	}
	server, err := startProcess(ctx, processSpec{account: b.who, hold: b.folder.hold, env: b.env, argv: []string{b.program, b.settings()}})
	if err != nil {
		return err
	}
	b.server = server
	ticker := time.NewTicker(readyPoll)
	defer ticker.Stop()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", local(b.port.number))
		if err == nil {
			return conn.Close()
		}
		select {
		case <-server.done:
			return fmt.Errorf("start PgBouncer: %w\n%s", server.err, server.log)
		case <-ctx.Done():
			return fmt.Errorf("start PgBouncer: %w\n%s", context.Cause(ctx), server.log)
		case <-ticker.C:
		}
	}
}

// Stop ends PgBouncer and all connections at once. Without effect when it is stopped.
func (b *PgBouncer) Stop(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stopLocked(ctx)
}

// stopLocked is Stop, called with b.mu held.
func (b *PgBouncer) stopLocked(ctx context.Context) error {
	if b.server == nil {
		return nil
	}
	if err := b.server.stop(ctx, "TERM"); err != nil {
		return fmt.Errorf("stop PgBouncer: %w", err)
	}
	b.server = nil
	return nil
}

// Close stops it and removes its files. A second call does nothing.
func (b *PgBouncer) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	if err := b.stopLocked(ctx); err != nil {
		return err
	}
	return errors.Join(b.folder.remove(), b.port.release())
}
