package repo

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// A message is kept if it was sent after the command, however the column keeps its
// time, and goes if it was sent before, unless its time leaves that open.
func TestTimesAreReadAsWhatTheyAre(t *testing.T) {
	t.Parallel()
	const (
		keepsAll = 0 // what was sent before the command goes
		local    = ` at time zone current_setting('TimeZone')`
		utc      = ` at time zone 'UTC'`
	)
	cases := map[string]struct {
		zone   string // of the database
		column string // what becomes of the column
		stored string // how a writer stores a time
		spared int    // of the messages that were sent before the command
		warned []string
		also   string // one more message
	}{
		"as_they_are":                {"Europe/Berlin", `type timestamptz`, ``, keepsAll, nil, ``},
		"to_the_second":              {"UTC", `type timestamptz(0)`, ``, keepsAll, []string{"keeps times to 1s only"}, ``},
		"to_the_tenth_of_a_second":   {"UTC", `type timestamptz(1)`, ``, keepsAll, []string{"keeps times to 100ms only"}, ``},
		"to_the_second_by_a_default": {"UTC", `set default date_trunc('second', now())`, `, 'second')`, keepsAll, []string{"keeps times to 1s only"}, ``},
		"to_the_minute_by_a_default": {"UTC", `set default date_trunc('minute', now())`, `, 'minute')`, 1, []string{"keeps times to 1m0s only"}, ``},
		"without_a_zone_and_in_UTC":  {"UTC", `type timestamp, alter sent_at set default now()`, utc, keepsAll, []string{"is read as UTC"}, ``},
		"without_a_zone_or_a_default_in_the_east": {
			"Pacific/Kiritimati", `drop default, alter sent_at type timestamp`, utc, keepsAll, []string{"is timestamp without time zone and is read as UTC, while sessions here have the time zone Pacific/Kiritimati"}, ``,
		},
		"a_time_in_the_far_future_shows_no_zone": {
			"Asia/Kolkata", `type timestamp, alter sent_at set default now()`, utc, keepsAll,
			[]string{"UTC, or Asia/Kolkata"},
			`insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at) values ('demo', 'alice', 'c', 7, '2100-01-01')`,
		},
		"local_in_the_east":                   {"Europe/Berlin", `type timestamp, alter sent_at set default now()`, local, keepsAll, []string{"is timestamp without time zone default now(), which is the local time of whoever writes: UTC, or Europe/Berlin"}, ``},
		"local_far_in_the_east":               {"Pacific/Kiritimati", `type timestamp, alter sent_at set default localtimestamp`, local, keepsAll, []string{"UTC, or Pacific/Kiritimati"}, ``},
		"local_in_the_west":                   {"America/New_York", `type timestamp, alter sent_at set default current_timestamp`, local, keepsAll, []string{"UTC, or America/New_York"}, ``},
		"UTC_where_it_could_be_local_in_east": {"Asia/Kolkata", `type timestamp, alter sent_at set default now()`, utc, keepsAll, []string{"UTC, or Asia/Kolkata"}, ``},
		"UTC_where_it_could_be_local_in_west": {"America/New_York", `type timestamp, alter sent_at set default now()`, utc, keepsAll, []string{"UTC, or America/New_York"}, ``},
		"local_to_the_second":                 {"America/New_York", `type timestamp(0), alter sent_at set default now()`, local, keepsAll, []string{"keeps times to 1s only", "UTC, or America/New_York"}, ``},
		"in_UTC_by_the_default":               {"Asia/Kolkata", `type timestamp, alter sent_at set default (now() at time zone 'utc')`, utc, keepsAll, nil, ``},
		"in_a_zone_by_the_default":            {"UTC", `type timestamp, alter sent_at set default (now() at time zone 'Asia/Tokyo')`, ` at time zone 'Asia/Tokyo'`, keepsAll, nil, ``},
		"UTC_taken_for_local_time_in_east":    {"Europe/Berlin", `set default timezone('utc', now())`, utc, keepsAll, []string{"store a time that is off by its difference to utc"}, ``},
		"UTC_taken_for_local_time_in_west":    {"America/New_York", `set default timezone('utc', now())`, utc, keepsAll, []string{"store a time that is off by its difference to utc"}, ``},
		"that_may_be_null":                    {"UTC", `drop not null, alter sent_at set default now()`, ``, 1, []string{"may be null: without through_seq"}, `update chat.messages set sent_at = null where seq = 3`},
		"UTC_taken_for_local_time_in_UTC":     {"Etc/UTC", `set default timezone('utc', now())`, utc, keepsAll, nil, ``},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := newDatabase(t)
			admin := openPool(t, url)
			execSQL(t, admin, `alter table chat.messages alter sent_at drop default, alter sent_at type timestamptz, alter sent_at `+c.column)
			execSQL(t, admin, fmt.Sprintf(`do $$ begin execute format('alter database %%I set timezone = %%L', current_database(), '%s'); end $$`, c.zone))
			r := openRepo(t, Config{URL: url, Plan: plan.Bundled()})
			compareLines(t, "warnings", r.Warnings(), c.warned)
			// Shortly after a full second, so that rounding takes a later message to before it.
			at := time.Now().Add(-2 * time.Second).Truncate(time.Second).Add(50 * time.Millisecond)
			write := `$2::timestamptz` + c.stored
			if strings.HasPrefix(c.stored, ",") {
				write = `date_trunc('` + strings.Trim(c.stored, ",') ") + `', $2::timestamptz)`
			}
			later := []time.Duration{400 * time.Millisecond, time.Second, 1900 * time.Millisecond}
			for i, ago := range append([]time.Duration{-2 * time.Hour, -20 * time.Minute, -2 * time.Second}, later...) {
				execSQL(t, r.pool, `insert into chat.messages (app_id, user_id, conversation_id, seq, sent_at) values ('demo', 'alice', 'c', $1, `+write+`)`, i+1, at.Add(ago))
			}
			execSQL(t, r.pool, c.also)
			d := deletion("1", "c")
			d.StoredAt = at
			res := bulk(t, r, purge.Batch{Deletions: []purge.Deletion{d}, Budget: purge.Budget{PerDeletion: 1000, Rows: 1000}})
			if got, want := res.Records[0].ThroughSeq, int64(3-c.spared); got != want {
				t.Errorf("the boundary is %d; want %d", got, want)
			}
		})
	}
}

// Two roles that write have different zones: what may be later in any of them stays.
func TestTimesOfSeveralZones(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	admin := openPool(t, url)
	role, _ := newRole(t, url)
	execSQL(t, admin, `alter table chat.messages alter sent_at type timestamp`)
	execSQL(t, admin, fmt.Sprintf(`do $$ begin execute format('alter role %s in database %%I set timezone = ''America/New_York''', current_database()); end $$`, role))
	r := openRepo(t, Config{URL: url, Plan: plan.Bundled()})
	compareLines(t, "warnings", r.Warnings(), []string{"UTC, or America/New_York"})
	everyStatementUsesIndexes(t, r)
}
