package localstack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Backup is a base backup of a server and the archive of what it has written
// since, from which a server of any later moment can be made.
type Backup struct {
	of     *cluster
	folder *folder // base and archive
}

// Backup takes a base backup, and has the server archive its WAL from now on,
// which must not be archived already. Close it. It fails where the server is not
// ours.
func (p *Postgres) Backup(ctx context.Context) (*Backup, error) {
	if p.cluster == nil {
		return nil, ErrNotOurs
	}
	f, err := newFolder(ctx, clusterParents(p.cluster.programs.account, p.cluster.options.Durable), "lethe-backup-")
	if err != nil {
		return nil, err
	}
	b := &Backup{of: p.cluster, folder: f}
	if err := b.take(ctx, p); err != nil {
		return nil, errors.Join(err, f.remove())
	}
	return b, nil
}

// take fills the folder. Archiving needs a restart.
func (b *Backup) take(ctx context.Context, p *Postgres) error {
	if err := os.Mkdir(b.archive(), 0o700); err != nil {
		return err
	}
	for _, folder := range []string{b.folder.path, b.archive()} {
		if err := b.of.programs.account.own(folder); err != nil {
			return err
		}
	}
	for _, sql := range []string{"alter system set archive_mode = on", "alter system set archive_command = 'cp %p " + b.archive() + "/%f'"} {
		if err := p.exec(ctx, sql); err != nil {
			return err
		}
	}
	if err := p.Restart(ctx); err != nil {
		return err
	}
	source := fmt.Sprintf("host=%s port=%s user=postgres", b.of.folder.path, b.of.port())
	backup := b.of.spec().command(ctx, filepath.Join(b.of.programs.bin, "pg_basebackup"), "-D", b.base(), "-d", source,
		"--wal-method=stream", "--checkpoint=fast", "--no-sync")
	if out, err := backup.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", backup.Path, err, bytes.TrimSpace(out))
	}
	return nil
}

func (b *Backup) base() string    { return filepath.Join(b.folder.path, "base") }
func (b *Backup) archive() string { return filepath.Join(b.folder.path, "archive") }

// Restore brings the server of the backup back to a moment after it, as an
// operator does: the server stops, which archives what it has written, its data
// make place for those of the backup, and the server recovers up to the moment,
// and takes writes again. Its address stays the same. A backup serves once.
func (b *Backup) Restore(ctx context.Context, p *Postgres, to time.Time) error {
	if p.cluster != b.of {
		return errors.New("the backup is another server's")
	}
	if err := p.exec(ctx, "select pg_switch_wal()"); err != nil {
		return err
	}
	if err := p.Stop(ctx); err != nil { // a shutdown waits for the archiver
		return err
	}
	if err := os.Rename(b.of.data(), filepath.Join(b.folder.path, "broken")); err != nil {
		return err
	}
	if err := os.Rename(b.base(), b.of.data()); err != nil {
		return err
	}
	if err := b.recover(to); err != nil {
		return err
	}
	return p.Start(ctx)
}

// recover tells the server up to when to recover, to take nobody in before that is
// done, and not to archive into the history that it leaves.
func (b *Backup) recover(to time.Time) error {
	conf, err := os.OpenFile(filepath.Join(b.of.data(), "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(conf, "archive_mode = off\nhot_standby = off\nrestore_command = 'cp %s/%%f %%p'\nrecovery_target_time = '%s'\nrecovery_target_action = promote\n",
		b.archive(), to.UTC().Format("2006-01-02 15:04:05.999999+00"))
	if err := errors.Join(err, conf.Close()); err != nil {
		return err
	}
	signal := filepath.Join(b.of.data(), "recovery.signal")
	if err := os.WriteFile(signal, nil, 0o600); err != nil {
		return err
	}
	return b.of.programs.account.own(signal)
}

// Close removes the backup's files.
func (b *Backup) Close() error { return b.folder.remove() }
