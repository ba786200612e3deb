package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/jackc/pgx/v5"
)

// environment is where a run was made.
type environment struct {
	Started time.Time `json:"started"`
	System  string    `json:"system"` // operating system and architecture
	CPU     string    `json:"cpu"`    // model, if it is known
	CPUs    int       `json:"cpus"`
	// FsyncMillis is the median time of a write of 8 kB and its fsync where
	// Postgres has its data; 0 where the server isn't ours.
	FsyncMillis float64           `json:"fsync_ms,omitempty"`
	Go          string            `json:"go"`
	Commit      string            `json:"commit"` // of this checkout; "+" for changes after it
	NATS        string            `json:"nats"`
	NATSSync    bool              `json:"nats_sync"`
	Postgres    string            `json:"postgres"`
	Settings    map[string]string `json:"postgres_settings"`
}

// settingsShown are Postgres's settings that decide about the figures.
var settingsShown = []string{
	"autovacuum", "backend_flush_after", "checkpoint_timeout", "commit_delay", "fsync", "full_page_writes",
	"max_wal_size", "shared_buffers", "synchronous_commit", "wal_compression", "wal_level", "wal_sync_method",
}

// environment finds out where this run is made.
func (s *stack) environment(ctx context.Context) (environment, error) {
	e := environment{
		Started: time.Now().UTC().Truncate(time.Second), System: runtime.GOOS + "/" + runtime.GOARCH, CPU: cpuModel(), CPUs: runtime.NumCPU(),
		Go: runtime.Version(), Commit: commit(ctx), NATS: natsserver.VERSION, NATSSync: s.opts.NATSSync, Settings: map[string]string{},
	}
	conn, err := pgx.Connect(ctx, s.postgres.URL())
	if err != nil {
		return e, err
	}
	defer conn.Close(ctx) //nolint:errcheck // it was only read from
	if err := conn.QueryRow(ctx, "select current_setting('server_version')").Scan(&e.Postgres); err != nil {
		return e, err
	}
	for name := range s.opts.Server {
		e.Settings[name] = "" // shown like those that always are
	}
	for _, name := range settingsShown {
		e.Settings[name] = ""
	}
	for name := range e.Settings {
		var value string
		if err := conn.QueryRow(ctx, "select current_setting($1)", name).Scan(&value); err != nil {
			return e, err
		}
		e.Settings[name] = value
	}
	if dir := s.postgres.DataDir(); dir != "" {
		e.FsyncMillis, err = fsyncMillis(filepath.Dir(dir))
	}
	return e, err
}

// print writes the environment for people.
func (e environment) print(to io.Writer) {
	settings := assignments(e.Settings)
	fmt.Fprintf(to, "%s, %d CPUs (%s), %s, commit %s\n", e.System, e.CPUs, e.CPU, e.Go, e.Commit)
	fmt.Fprintf(to, "Postgres %s: %s\n", e.Postgres, strings.Join(settings, " "))
	fmt.Fprintf(to, "nats-server %s: streams in files, each write synced: %v\n", e.NATS, e.NATSSync)
	if e.FsyncMillis > 0 {
		fmt.Fprintf(to, "an fsync of 8 kB takes %.2f ms\n", e.FsyncMillis)
	}
	fmt.Fprintln(to)
}

// cpuModel is the processor's name on Linux, or "unknown".
func cpuModel() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		for line := range bytes.Lines(info) {
			if name, value, ok := bytes.Cut(line, []byte(":")); ok && string(bytes.TrimSpace(name)) == "model name" {
				return string(bytes.TrimSpace(value))
			}
		}
	}
	return "unknown"
}

// commit is the checkout's commit, or "unknown".
func commit(ctx context.Context) string {
	head, err := exec.CommandContext(ctx, "git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	changes, err := exec.CommandContext(ctx, "git", "status", "--porcelain").Output()
	name := string(bytes.TrimSpace(head))
	if err != nil || len(changes) > 0 {
		name += "+"
	}
	return name
}

// fsyncMillis measures the disk below dir.
func fsyncMillis(dir string) (ms float64, err error) {
	f, err := os.CreateTemp(dir, "fsync-")
	if err != nil {
		return 0, err
	}
	defer func() { _, _ = f.Close(), os.Remove(f.Name()) }()
	times := make([]time.Duration, 50)
	page := bytes.Repeat([]byte("lethe"), 8192/5)
	for i := range times {
		start := time.Now()
		if _, err := f.WriteAt(page, 0); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		times[i] = time.Since(start)
	}
	slices.Sort(times)
	return milliseconds(times[len(times)/2]), nil
}
