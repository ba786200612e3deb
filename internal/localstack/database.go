package localstack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// disconnectTimeout bounds the polite end of a connection.
const disconnectTimeout = 5 * time.Second

// CreateDatabase creates an empty database of a unique name and returns its
// address, and what drops it again, with whoever is still connected to it. The
// database is UTF-8 and sorts by byte value, whatever the server's default.
// Dropping it twice is fine.
func (p *Postgres) CreateDatabase(ctx context.Context) (url string, drop func(context.Context) error, err error) {
	return p.CreateDatabaseIn(ctx, "UTF8")
}

// CreateDatabaseIn is CreateDatabase with another encoding, as Postgres calls it:
// LATIN1, EUC_JP.
func (p *Postgres) CreateDatabaseIn(ctx context.Context, encoding string) (url string, drop func(context.Context) error, err error) {
	// template0: nobody can be connected to it, which create database would refuse.
	return p.create(ctx, "template template0 encoding '"+encoding+"' lc_collate 'C' lc_ctype 'C'")
}

// CopyDatabase is CreateDatabase with all that the database at address holds, as
// the server copies files: faster than filling it again, and with hardly any WAL.
// Nobody may be connected to the other database meanwhile.
func (p *Postgres) CopyDatabase(ctx context.Context, address string) (url string, drop func(context.Context) error, err error) {
	config, err := pgx.ParseConfig(address)
	if err != nil {
		return "", nil, err
	}
	how := "template " + pgx.Identifier{config.Database}.Sanitize()
	version, err := p.Version(ctx)
	if err != nil {
		return "", nil, err
	}
	if version >= 150000 {
		how += " strategy file_copy" // older servers know no other
	}
	return p.create(ctx, how)
}

// Version is the server's, such as 150018. It is asked once.
func (p *Postgres) Version(ctx context.Context) (int, error) {
	if known := p.version.Load(); known != 0 {
		return int(known), nil
	}
	conn, err := pgx.Connect(ctx, p.url)
	if err != nil {
		return 0, err
	}
	defer conn.Close(ctx) //nolint:errcheck // it was only read from
	var version int
	if err := conn.QueryRow(ctx, "select current_setting('server_version_num')::int").Scan(&version); err != nil {
		return 0, err
	}
	p.version.Store(int64(version))
	return version, nil
}

// create creates a database of a unique name.
func (p *Postgres) create(ctx context.Context, how string) (url string, drop func(context.Context) error, err error) {
	name := "lethe_" + strings.ToLower(rand.Text()[:16])
	if err := p.exec(ctx, "create database "+name+" "+how); err != nil {
		return "", nil, err
	}
	drop = func(ctx context.Context) error {
		return p.exec(ctx, "drop database if exists "+name+" with (force)")
	}
	address, err := withDatabase(p.url, name)
	if err != nil {
		return "", nil, errors.Join(err, drop(ctx))
	}
	return address, drop, nil
}

// exec runs one statement on its own connection to the URL's database.
func (p *Postgres) exec(ctx context.Context, sql string) error {
	conn, err := pgx.Connect(ctx, p.url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	if err != nil {
		err = fmt.Errorf("%s: %w", sql, err)
	}
	closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), disconnectTimeout)
	defer cancel()
	return errors.Join(err, conn.Close(closeCtx))
}

// withDatabase is the address, a URL or a list of words like "host=… dbname=…",
// with another database.
func withDatabase(address, name string) (string, error) {
	if !strings.HasPrefix(address, "postgres://") && !strings.HasPrefix(address, "postgresql://") {
		return address + " dbname=" + name, nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return "", errors.New("DATABASE_URL is not a valid URL") // without the password in it
	}
	query := u.Query()
	query.Del("dbname")
	query.Del("database")
	u.RawQuery = query.Encode()
	u.Path, u.RawPath = "/"+name, ""
	return u.String(), nil
}
