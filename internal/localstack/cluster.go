package localstack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	// startTimeout bounds a start, crash recovery included.
	startTimeout = 2 * time.Minute
	// closeTimeout bounds an immediate stop. Postgres itself kills what is left of
	// its processes after 5 s.
	closeTimeout = 30 * time.Second
	// readyPoll is how often a starting server is asked whether it is ready.
	readyPoll = 5 * time.Millisecond
)

// errClosed is what a cluster returns after close.
var errClosed = errors.New("temporary Postgres is closed")

// cluster is a temporary Postgres cluster. Safe for concurrent use.
type cluster struct {
	programs programs
	folder   *folder // socket and data
	options  PostgresOptions

	mu     sync.Mutex // guards what follows; held through a start or a stop
	server *process   // nil when stopped
	closed bool
}

// newCluster makes a cluster's files. It is not running yet.
func newCluster(ctx context.Context, opts PostgresOptions) (*cluster, error) {
	found, err := findPrograms(ctx, os.Environ(), opts.Major)
	if err != nil {
		return nil, err
	}
	f, err := newFolder(ctx, clusterParents(found.account, opts.Durable), "lethe-postgres-")
	if err != nil {
		return nil, err
	}
	c := &cluster{programs: found, folder: f, options: opts}
	if err := c.initialise(ctx); err != nil {
		return nil, errors.Join(err, f.remove())
	}
	return c, nil
}

// data is the folder of the cluster's data.
func (c *cluster) data() string { return filepath.Join(c.folder.path, "data") }

// templates are the data that this process's clusters are copies of, by the folder of
// the programs. Such a folder goes with the process.
var templates struct {
	mu   sync.Mutex // guards made; held while initdb makes a template
	made map[string]*folder
}

// initialise makes the data and the settings. The copies of a template have one
// system identifier, which only matters to a standby: it is a copy of its primary
// anyway.
func (c *cluster) initialise(ctx context.Context) error {
	if err := c.own(); err != nil {
		return err
	}
	template, err := c.template(ctx)
	switch {
	case err != nil:
		return err
	case template == "":
		err = c.initdb(ctx, c.data())
	default:
		err = c.copyData(ctx, template)
	}
	if err != nil {
		return err
	}
	return c.addSettings()
}

// template is the folder to copy, or "" for the first cluster of these programs:
// most processes have no other. A copy takes a fifth of initdb's time.
func (c *cluster) template(ctx context.Context) (string, error) {
	templates.mu.Lock()
	defer templates.mu.Unlock()
	f, known := templates.made[c.programs.bin]
	if !known {
		if templates.made == nil {
			templates.made = map[string]*folder{}
		}
		templates.made[c.programs.bin] = nil
		return "", nil
	}
	if f == nil {
		made, err := newFolder(ctx, clusterParents(c.programs.account, false), "lethe-template-")
		if err != nil {
			return "", err
		}
		if err := errors.Join(c.programs.account.own(made.path), c.initdb(ctx, filepath.Join(made.path, "data"))); err != nil {
			return "", errors.Join(err, made.remove())
		}
		f, templates.made[c.programs.bin] = made, made
	}
	return filepath.Join(f.path, "data"), nil
}

// initdb makes the data.
func (c *cluster) initdb(ctx context.Context, data string) error {
	// Trust is safe: the socket's folder is open to the server's user alone. Not
	// syncing is, too: a machine that crashes here loses a cluster of no use.
	initdb := c.spec().command(ctx, filepath.Join(c.programs.bin, "initdb"), "-D", data,
		"--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", initdb.Path, err, bytes.TrimSpace(out))
	}
	return nil
}

// copyData makes the data those of a server that doesn't run.
func (c *cluster) copyData(ctx context.Context, from string) error {
	out, err := c.spec().command(ctx, "/bin/cp", "-a", from, c.data()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("copy the data: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// own gives the folder to the server's user.
func (c *cluster) own() error { return c.programs.account.own(c.folder.path) }

// settings is what is added to postgresql.conf.
func (c *cluster) settings() string {
	settings := map[string]string{
		"listen_addresses":        "",
		"port":                    c.port(),
		"unix_socket_directories": c.folder.path,
		"max_connections":         "200",
	}
	if !c.options.Durable {
		// Safe against the end of the server, which keeps what it wrote; only the
		// machine's own crash could lose it.
		settings["fsync"] = "off"
		settings["full_page_writes"] = "off"
	}
	for name, value := range c.options.Settings {
		settings[strings.ToLower(name)] = value
	}
	var conf strings.Builder
	for name, value := range settings {
		fmt.Fprintf(&conf, "%s = '%s'\n", name, strings.ReplaceAll(value, "'", "''"))
	}
	return conf.String()
}

// port names the socket; it is a TCP port only if the caller sets listen_addresses.
func (c *cluster) port() string {
	if port := c.options.Settings["port"]; port != "" {
		return port
	}
	return "5432"
}

// spec is how this cluster's programs run.
func (c *cluster) spec(argv ...string) processSpec {
	return processSpec{
		account: c.programs.account,
		hold:    c.folder.hold,
		env:     c.programs.env,
		log:     c.options.Log,
		argv:    argv,
	}
}

// start starts the server and waits until it takes connections.
func (c *cluster) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errClosed
	}
	if c.server != nil && !c.server.ended() {
		return errors.New("temporary Postgres runs already")
	}
	left, _ := os.ReadFile(c.pidFile()) // of a server that was killed; else there is none
	server, err := startProcess(ctx, c.spec(filepath.Join(c.programs.bin, "postgres"), "-D", c.data()))
	if err != nil {
		return err
	}
	if err := c.awaitReady(ctx, server, left); err != nil {
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		return errors.Join(fmt.Errorf("start Postgres: %w\n%s", err, server.log), server.stop(stopCtx, "QUIT"))
	}
	c.server = server
	return nil
}

// pidFile is the file in which Postgres says who and how it is.
func (c *cluster) pidFile() string { return filepath.Join(c.data(), "postmaster.pid") }

// awaitReady waits until the server says "ready" on the eighth line of its pid
// file, as pg_ctl does. What an earlier server left there doesn't count.
func (c *cluster) awaitReady(ctx context.Context, server *process, left []byte) error {
	ticker := time.NewTicker(readyPoll)
	defer ticker.Stop()
	for {
		select {
		case <-server.done:
			return fmt.Errorf("ended: %w", server.err)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
			said, err := os.ReadFile(c.pidFile())
			lines := bytes.Split(said, []byte("\n"))
			if err == nil && !bytes.Equal(said, left) && len(lines) >= 8 && bytes.HasPrefix(lines[7], []byte("ready")) {
				return nil
			}
		}
	}
}

// stop stops the server: INT is Postgres's fast shutdown, QUIT its immediate one.
// A server that isn't running is fine.
func (c *cluster) stop(ctx context.Context, signal string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errClosed
	}
	return c.stopLocked(ctx, signal)
}

// stopLocked is stop for who holds c.mu.
func (c *cluster) stopLocked(ctx context.Context, signal string) error {
	if c.server == nil {
		return nil
	}
	if err := c.server.stop(ctx, signal); err != nil {
		return fmt.Errorf("stop Postgres: %w", err)
	}
	c.server = nil
	return nil
}

// close stops the server at once and removes all its files, even if ctx has ended.
func (c *cluster) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	// Without the server's end the folder's guard would be waited for in vain; it
	// removes the folder when this process ends.
	if err := c.stopLocked(ctx, "QUIT"); err != nil {
		return err
	}
	return c.folder.remove()
}
