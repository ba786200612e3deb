package plan

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lethe-im/lethe/internal/purge"
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

// Who reads the check knows before which commands are refused.
func TestCheckNotesWhatNeedsThroughSeq(t *testing.T) {
	t.Parallel()
	pool := openPool(t)
	execSQL(t, pool, `create table m (u text not null, c text not null, n bigint primary key, at timestamptz not null default now()); create index on m (u, c, n); create index on m (u, c, at); create index on m (c, u, n);
		create table log (c text not null, n bigint primary key); create index on log (c, n);
		create table who (u text not null, c text not null, primary key (c, u)); create index on who (u, c);
		create table body (c text not null, n bigint primary key); create index on body (c, n);
		create table p (u text not null, n bigint not null references body, primary key (u, n)); create index on p (n, u)`)
	const begin, end = ": without sent_at nothing tells which messages are older than a command: commands without through_seq are refused (boundary_required)",
		"; name the column of the time in sent_at, or see that producers send through_seq"
	for _, c := range []struct{ plan, path, also string }{
		{`{tenant: t, messages: {table: m, user: u, conversation: c, seq: n}}`, "messages", ", and so are all with all_conversations"},
		{`{tenant: t, messages: {table: m, user: u, conversation: c, seq: n}, everyone: {prefix: ""}}`, "messages", ", and so are all with all_conversations, and all with scope everyone, which have none here"},
		{`{tenant: t, messages: {table: m, user: u, conversation: c, seq: n, sent_at: at}}`, "", ""},
		{`{tenant: t, messages: {table: m, user: u, conversation: c, seq: at}}`, "", ""},
		{`{tenant: t, messages: {table: m, user: u, conversation: c, seq: {column: n, unit: ms}}}`, "", ""},
		{`{tenant: t, messages: {table: log, conversation: c, seq: n}, members: {table: who, user: u, conversation: c}}`, "messages", ", and so are all with all_conversations"},
		{`{tenant: t, messages: {table: log, conversation: c, seq: n}, members: none}`, "messages", ""},
		{`{tenant: t, messages: {table: p, user: u, parents: [{table: body, references: {column: n, to: n}, conversation: c, seq: n}]}}`, "messages.parents[0]", ""},
	} {
		p, err := Parse([]byte(c.plan))
		if err != nil {
			t.Fatal(c.plan, err)
		}
		r, err := Inspect(t.Context(), pool, p, Options{})
		if err == nil {
			err = r.Err()
		}
		if err != nil {
			t.Fatal(c.plan, err)
		}
		d := purge.Deletion{Key: purge.Key{App: "t", User: "u", Conversation: "c"}}
		if p.NoMembers {
			d.Scope = purge.ScopeEveryone
		}
		_, err = r.Checked.Incompatible(d)
		if refused := errors.Is(err, purge.ErrBoundaryRequired); refused != (c.path != "") || err != nil && !refused {
			t.Errorf("%s: a command without through_seq is refused: %v", c.plan, err)
		}
		if noted := slices.ContainsFunc(r.Notes, func(f Finding) bool { return f.Text == "line 1: "+c.path+begin+c.also+end && f.Path == c.path }); noted != (c.path != "") {
			t.Errorf("%s: notes = %+v; want %s", c.plan, r.Notes, c.path+begin+c.also+end)
		}
	}
}
