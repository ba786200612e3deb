package main

import (
	"encoding/binary"
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
	tap, err := openTap(ctx, localtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tap.proxy.Close(); err != nil {
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
	// Preparing "select 1" is its own.
	if longest < 100*time.Millisecond || longest > 10*time.Second || count < 2 || count > 3 {
		t.Errorf("seen = %v, %d; want a bit more than 100ms, 2 or 3 transactions", longest, count)
	}
}
