package localstack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// StartStandby starts a streaming standby of p, under the name (application_name)
// by which p lists it, and waits until it answers queries. Its settings are p's
// but for those of opts. Close it as well as p. It
// fails where the server of p is not ours, and needs pg_basebackup beside the
// server's programs.
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
	if err := c.copyFrom(ctx, primary, name); err != nil {
		return nil, errors.Join(err, f.remove())
	}
	return c, nil
}

// copyFrom makes the data, with what tells the server that it is a standby.
func (c *cluster) copyFrom(ctx context.Context, primary *cluster, name string) error {
	if err := c.own(); err != nil {
		return err
	}
	source := fmt.Sprintf("host=%s port=%s user=postgres application_name=%s", primary.folder.path, primary.port(), name)
	backup := c.spec().command(ctx, filepath.Join(c.programs.bin, "pg_basebackup"), "-D", c.data(), "-d", source,
		"--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync")
	if out, err := backup.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", backup.Path, err, bytes.TrimSpace(out))
	}
	return c.addSettings()
}

// own gives the folder to the server's user.
func (c *cluster) own() error {
	if owner := c.programs.account.credential; owner != nil {
		return os.Chown(c.folder.path, int(owner.Uid), int(owner.Gid))
	}
	return nil
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
