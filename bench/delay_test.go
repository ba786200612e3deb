package main

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

func TestADistanceDelaysEachWayHoweverMuchIsSaid(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	const oneWay = 20 * time.Millisecond
	d, err := openDistance(ctx, t.TempDir(), localtest.Database(t), oneWay)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.close(); err != nil {
			t.Error(err)
		}
	})
	conn, err := pgx.Connect(ctx, d.url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	// Three megabytes come in a hundred pieces, which are under way together.
	var text string
	start := time.Now()
	if err := conn.QueryRow(ctx, "select repeat('x', 3000000)", pgx.QueryExecModeExec).Scan(&text); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); len(text) != 3_000_000 || took < 2*oneWay || took > 50*oneWay {
		t.Errorf("%d bytes took %v; want 3000000, and less than if each piece waited for the one before", len(text), took)
	}
}
