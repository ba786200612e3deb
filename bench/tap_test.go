package main

import (
	"encoding/binary"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// message is a frame of the protocol.
func message(kind byte, body string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(4+len(body))), body...)
}

func TestFrameReaderFindsReadyForQueryHoweverThePiecesFall(t *testing.T) {
	t.Parallel()
	var stream []byte
	for _, m := range [][]byte{
		message('R', "\x00\x00\x00\x00"), message('Z', "I"), message('1', ""), message('D', "a row with a Z\x00\x00\x00\x05I in it"),
		message('C', "DELETE 1\x00"), message('Z', "T"), message('Z', "E"), message('n', ""), message('Z', "I"),
	} {
		stream = append(stream, m...)
	}
	for size := 1; size <= len(stream); size++ {
		var f frameReader
		var got string
		for rest := stream; len(rest) > 0; {
			n := min(size, len(rest))
			f.read(rest[:n], func(status byte) { got += string(status) })
			rest = rest[n:]
		}
		if got != "ITEI" {
			t.Fatalf("in pieces of %d bytes: %q; want %q", size, got, "ITEI")
		}
	}
}

func TestTheTapTimesWholeTransactions(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dir := t.TempDir()
	if len(filepath.Join(dir, ".s.PGSQL.5432")) > 100 {
		t.Fatalf("the path of a socket in %s is too long: set a shorter TMPDIR", dir)
	}
	tap, err := openTap(ctx, dir, localtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tap.close(); err != nil {
			t.Error(err)
		}
	})
	conn, err := pgx.Connect(ctx, tap.url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	tap.reset()
	for _, sql := range []string{"begin", "select pg_sleep(0.05)", "select pg_sleep(0.05)", "commit", "select 1"} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	longest, count := tap.seen()
	// Preparing "select 1" is one of its own.
	if longest < 100*time.Millisecond || longest > 10*time.Second || count < 2 || count > 3 {
		t.Errorf("seen = %v, %d; want a bit more than 100ms, 2 or 3 transactions", longest, count)
	}
}

func TestThroughSocketKeepsEverythingButTheWay(t *testing.T) {
	t.Parallel()
	got, err := url.Parse(throughSocket("postgres://bob:se%20cret@db.example:6543/app?application_name=x", "/tmp/d"))
	if err != nil {
		t.Fatal(err)
	}
	q := got.Query()
	if got.Host != "" || got.Path != "/app" || q.Get("host") != "/tmp/d" || q.Get("port") != "5432" || q.Get("user") != "bob" ||
		q.Get("password") != "se cret" || q.Get("sslmode") != "disable" || q.Get("application_name") != "x" {
		t.Errorf("throughSocket = %v", got)
	}
	if got, want := throughSocket("host=db dbname=app", "/tmp/d"), "host=db dbname=app host=/tmp/d port=5432 sslmode=disable"; got != want {
		t.Errorf("throughSocket = %q; want %q", got, want)
	}
}
