package localstack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
)

// StartStandby starts a streaming standby of p, under the name (application_name)
// by which p lists it, and waits until it answers queries. Its settings are p's
// but for those of opts. Close it as well as p. It
// fails where the server of p is not ours. Where there is no pg_basebackup beside the
// server's programs, p is stopped for the copy and started again.
func (p *Postgres) StartStandby(ctx context.Context, name string, opts PostgresOptions) (*Postgres, error) {
	if p.cluster == nil {
		return nil, ErrNotOurs
	}
	c, err := newStandby(ctx, p.cluster, name, opts)
	if err != nil {
		return nil, err
	}
	return startCluster(ctx, c)
}

// newStandby copies a running cluster. The copy is not running yet.
func newStandby(ctx context.Context, primary *cluster, name string, opts PostgresOptions) (*cluster, error) {
	f, err := newFolder(ctx, clusterParents(primary.programs.account, opts.Durable), "lethe-standby-")
	if err != nil {
		return nil, err
	}
	c := &cluster{programs: primary.programs, folder: f, options: opts}
	if _, err := os.Stat(c.basebackup()); err != nil {
		if err := c.copyStopped(ctx, primary, name); err != nil {
			return nil, errors.Join(err, f.remove())
		}
		return c, nil
	}
	if err := c.copyFrom(ctx, primary, name); err != nil {
		return nil, errors.Join(err, f.remove())
	}
	return c, nil
}

// basebackup is Postgres's own program for copies.
func (c *cluster) basebackup() string { return filepath.Join(c.programs.bin, "pg_basebackup") }

// conninfo is how a standby of that name reaches the cluster.
func (c *cluster) conninfo(name string) string {
	return fmt.Sprintf("host=%s port=%s user=postgres application_name=%s", c.folder.path, c.port(), name)
}

// copyStopped is copyFrom for a server without pg_basebackup: what a server has
// written when it stops in an orderly way is a base backup.
func (c *cluster) copyStopped(ctx context.Context, primary *cluster, name string) error {
	if err := c.own(); err != nil {
		return err
	}
	if err := primary.stop(ctx, "INT"); err != nil {
		return err
	}
	if err := c.copyData(ctx, primary.data()); err != nil {
		return err
	}
	if err := primary.start(ctx); err != nil {
		return err
	}
	settings := map[string]string{"primary_conninfo": primary.conninfo(name)}
	maps.Copy(settings, c.options.Settings)
	c.options.Settings = settings
	if err := os.WriteFile(filepath.Join(c.data(), "standby.signal"), nil, 0o644); err != nil { //nolint:gosec // the server's user reads it
		return err
	}
	return c.addSettings()
}

// copyFrom makes the data, with what tells the server that it is a standby.
func (c *cluster) copyFrom(ctx context.Context, primary *cluster, name string) error {
	if err := c.own(); err != nil {
		return err
	}
	backup := c.spec().command(ctx, c.basebackup(), "-D", c.data(), "-d", primary.conninfo(name),
		"--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync")
	if out, err := backup.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", backup.Path, err, bytes.TrimSpace(out))
	}
	return c.addSettings()
}

// addSettings puts the settings below those that the data came with; the last
// word counts.
func (c *cluster) addSettings() error {
	conf, err := os.OpenFile(filepath.Join(c.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = conf.WriteString(c.settings())
	return errors.Join(err, conf.Close())
}
