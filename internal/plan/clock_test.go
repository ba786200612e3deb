package plan

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// Before clocks are set back they show times that come again.
func TestALocalTimeIsNoLaterThanAnyThatFollows(t *testing.T) {
	t.Parallel()
	pool := openPool(t)
	for zone, moment := range map[string]string{
		"Europe/Berlin": "2026-10-25 00:30Z", "America/New_York": "2026-11-01 05:59Z", "Australia/Lord_Howe": "2026-04-04 14:45Z", "Asia/Kolkata": "2026-10-25 00:30Z",
	} {
		worst := queryOne[bool](t, pool, fmt.Sprintf(`select bool_and(%s <= (timestamptz '%s' + i * interval '1 minute') at time zone '%s') from generate_series(0, 180) i`,
			fmt.Sprintf(inZone(zone), "timestamptz '"+moment+"'"), moment, zone))
		if !worst {
			t.Errorf("%s at %s: a later moment shows an earlier time", zone, moment)
		}
		same := queryOne[bool](t, pool, fmt.Sprintf(`select %s = timestamptz '2026-03-29 00:30Z' at time zone '%s'`, fmt.Sprintf(inZone(zone), "timestamptz '2026-03-29 00:30Z'"), zone))
		if !same {
			t.Errorf("%s: a time that comes once isn't itself", zone)
		}
	}
}

func TestClockOf(t *testing.T) {
	t.Parallel()
	for preset, want := range map[string]struct {
		grain    time.Duration
		readings int
	}{
		"":                     {0, 1},
		"CURRENT_TIMESTAMP(0)": {time.Second, 2},
		"LOCALTIMESTAMP(3)":    {time.Millisecond, 2},
		"clock_timestamp()":    {0, 2},
		"(now())::timestamp(0) without time zone": {time.Second, 2},
		"CURRENT_DATE": {24 * time.Hour, 2},
		"'2020-01-01 00:00:00'::timestamp without time zone":     {0, 1},
		"('now'::text)::timestamp without time zone":             {0, 2},
		"timezone('utc'::text, now())":                           {0, 1},
		"(now() AT TIME ZONE 'utc'::text)":                       {0, 1},
		"date_trunc('hour'::text, timezone('utc'::text, now()))": {time.Hour, 1},
		"date_trunc('milliseconds'::text, CURRENT_TIMESTAMP)":    {time.Millisecond, 2},
	} {
		got := clockOf(column{typ: pgtype.TimestampOID, digits: 6, preset: preset}, server{zone: "Europe/Berlin"})
		if got.grain != want.grain || len(got.readings) != want.readings {
			t.Errorf("default %s: grain %v, %d readings; want %v, %d", preset, got.grain, len(got.readings), want.grain, want.readings)
		}
	}
	// A role that writes has another zone than the database, which has UTC.
	got := clockOf(column{typ: pgtype.TimestampOID, digits: 6, preset: "now()"}, server{zones: []string{"America/New_York"}})
	if len(got.readings) != 2 {
		t.Errorf("%d readings; want UTC and New York", len(got.readings))
	}
}
