package plan

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// clock is how the messages' times are kept. The catalog may leave open in which
// zone; then the messages decide ([clock.sentBy]).
type clock struct {
	// readings are how a moment may stand in the column, as formats for the moment's
	// expression; none for a column that keeps it as it is.
	readings []string
	// micros is what stands in the column as microseconds since 1970, a format for the column. Of several readings it is that in UTC.
	micros string
	grain  time.Duration // what is kept of a time is a multiple of it; 0 for microseconds
	facts  []string      // what an operator should know, for after the column's name
}

const asIs = "%s"

// inZone is a moment as the zone's clocks show it. Where they are about to be set
// back it is an hour less, for they will show that time again.
func inZone(zone string) string {
	z := literal(zone)
	if strings.EqualFold(zone, "UTC") {
		return "(%s at time zone " + z + ")"
	}
	return "least(%[1]s at time zone " + z + ", (%[1]s + interval '1 hour') at time zone " + z + " - interval '1 hour')"
}

// The forms of a default that take the time of the server, as pg_get_expr writes
// them.
var (
	clockDefault = regexp.MustCompile(`(?i)\b(now|transaction_timestamp|statement_timestamp|clock_timestamp)\(\)|\b(current_timestamp|localtimestamp|current_date)\b|'now'`)
	zonedDefault = regexp.MustCompile(`(?i)timezone\('([^']*)'|at time zone '([^']*)'`)
	shortDefault = regexp.MustCompile(`(?i)(?:current_timestamp|localtimestamp|timestamp)\(([0-5])\)`)
	unitDefault  = regexp.MustCompile(`(?i)date_trunc\('(\w+)'|(current_date|::date)`)
)

// grains of what a default may cut a time to.
var grains = map[string]time.Duration{
	"milliseconds": time.Millisecond, "second": time.Second, "minute": time.Minute, "hour": time.Hour,
	"day": 24 * time.Hour, "current_date": 24 * time.Hour, "::date": 24 * time.Hour,
}

// coarse is the grain from which a warning is useful: people notice it.
const coarse = 100 * time.Millisecond

// clockOf reads from a column's type and default how it keeps a time.
func clockOf(c column, s server) clock {
	k := clock{grain: grainOf(c.digits), micros: scales["timestamptz"].number}
	if c.typ == pgtype.TimestampOID {
		k.micros = scales["timestamp"].number
	}
	fromServer := clockDefault.MatchString(c.preset)
	if m := shortDefault.FindStringSubmatch(c.preset); m != nil && fromServer {
		digits, _ := strconv.Atoi(m[1]) // one digit
		k.grain = max(k.grain, grainOf(digits))
	}
	if m := unitDefault.FindStringSubmatch(c.preset); m != nil && fromServer {
		k.grain = max(k.grain, grains[strings.ToLower(m[1]+m[2])])
	}
	if k.grain >= coarse {
		k.facts = append(k.facts, fmt.Sprintf("keeps times to %v only (%s%s): without through_seq a command spares messages of the last %v before it, since they may be later ones",
			k.grain, c.typeName, presetOf(c), k.grain))
	}
	declared := ""
	if zoned := zonedDefault.FindAllStringSubmatch(c.preset, -1); len(zoned) == 1 {
		declared = zoned[0][1] + zoned[0][2]
	}
	zones := s.zones
	if s.zone != "" {
		zones = append([]string{s.zone}, zones...)
	}
	switch timestamp := c.typ == pgtype.TimestampOID; {
	case timestamp && fromServer && declared != "":
		k.readings = []string{inZone(declared)}
	case timestamp:
		k.readings = []string{inZone("UTC")}
		if len(zones) == 0 {
			if fromServer {
				k.facts = append(k.facts, fmt.Sprintf("is %s%s, which is the local time of whoever writes, and is read as UTC, the time zone that all roles here have: "+
					"see that no session sets another; make it timestamp with time zone, or send through_seq", c.typeName, presetOf(c)))
			}
			break
		}
		if !fromServer {
			k.facts = append(k.facts, fmt.Sprintf("is %s%s and is read as UTC, while sessions here have the time zone %s: see that messages are written in UTC",
				c.typeName, presetOf(c), strings.Join(zones, ", ")))
			break
		}
		for _, z := range zones {
			k.readings = append(k.readings, inZone(z))
		}
		k.facts = append(k.facts, fmt.Sprintf("is %s%s, which is the local time of whoever writes: UTC, or %s, the time zone that sessions here have; "+
			"it is read by what the newest message of a conversation shows, and a message that may be later than a command stays; make it timestamp with time zone, or send through_seq",
			c.typeName, presetOf(c), strings.Join(zones, ", ")))
	case fromServer && declared != "" && len(zones) > 0: // local time of one zone, taken for that of another
		k.readings = []string{asIs}
		for _, z := range zones {
			k.readings = append(k.readings, "((%[1]s at time zone "+literal(declared)+") at time zone "+literal(z)+")")
		}
		k.facts = append(k.facts, fmt.Sprintf("is %s%s: sessions here have the time zone %s, and store a time that is off by its difference to %s; it is read by what the newest message of a conversation shows; "+
			"make the default now(), or send through_seq", c.typeName, presetOf(c), strings.Join(zones, ", "), declared))
	}
	return k
}

// countedClock is that of a number of units.
func countedClock(r Reading) clock {
	u := countedUnits[r.Unit]
	k := clock{grain: u.grain}
	if k.grain >= coarse {
		k.facts = append(k.facts, fmt.Sprintf("keeps times to %v only: without through_seq a command spares messages of the last %[1]v before it, since they may be later ones", k.grain))
	}
	since := int64(0)
	if !r.Since.IsZero() {
		since = r.Since.UnixMicro()
	}
	// The greatest number whose time is at or before the moment. As a subquery it is found once, and not for each row.
	k.readings = []string{fmt.Sprintf("(select least(greatest((pg_catalog.floor((%s - %d)::numeric%s) + 1) * %d - 1, -9223372036854775808), 9223372036854775807)::bigint)",
		scales["timestamptz"].number, since, u.of, int64(1)<<r.Shift)}
	k.micros = fmt.Sprintf("least(greatest(pg_catalog.floor((%%s::bigint >> %d)%s) + %d, -9223372036854775808), 9223372036854775807)::bigint", r.Shift, u.micros, since)
	return k
}

// countedUnits are what becomes of a number of microseconds, how many these are, and of what times are multiples.
var countedUnits = map[string]struct {
	of, micros string
	grain      time.Duration
}{
	"s": {" * 0.000001", " * 1000000.0", time.Second}, "ms": {" * 0.001", " * 1000.0", time.Millisecond}, "us": {"", "::numeric", 0}, "ns": {" * 1000", " * 0.001", 0},
}

func presetOf(c column) string {
	if c.preset == "" {
		return ""
	}
	return " default " + c.preset
}

// grainOf is what so many digits of a second's fraction come to. Six are all.
func grainOf(digits int) time.Duration {
	if digits >= 6 {
		return 0
	}
	d := time.Second
	for range digits {
		d /= 10
	}
	return d
}

// stored are the moment's readings in SQL, one or more.
func (k clock) stored(moment string) []string {
	if len(k.readings) == 0 {
		return []string{moment}
	}
	out := make([]string, len(k.readings))
	for i, r := range k.readings {
		out[i] = fmt.Sprintf(r, moment)
	}
	return out
}

// safe is the moment less what the column doesn't keep of it: Postgres rounds,
// and a writer may cut off, so that a message may be as much newer than it looks.
func (k clock) safe(moment string) string {
	if k.grain == 0 {
		return moment
	}
	return fmt.Sprintf("(%s - interval '%d microseconds')", moment, k.grain.Microseconds())
}

// earliest is what a time must not exceed if it is to be at or before the moment in
// every reading.
func (k clock) earliest(moment string) string { return of("least", k.stored(k.safe(moment))) }

// sentBy is the condition that a message with the time sentAt was sent by the
// moment. Where two readings are open, newest, the time of the conversation's
// newest message, decides: in one reading it may lie in the future, and then the
// other is right. Where it lies in the future in both, or in none, nothing is
// decided, and only what was sent by the moment in both counts. A minute is for
// clocks that differ.
func (k clock) sentBy(sentAt, moment, newest string) string {
	bound := k.earliest(moment)
	if len(k.readings) > 1 {
		now := k.stored("clock_timestamp()")
		bound = fmt.Sprintf("(select case when n.at > %s + interval '1 minute' and n.at <= %s + interval '1 minute' then %s else %s end from (values (%s)) n (at))",
			of("least", now), of("greatest", now), of("greatest", k.stored(k.safe(moment))), bound, newest)
	}
	return sentAt + " <= " + bound
}

func of(function string, exprs []string) string {
	if len(exprs) == 1 {
		return exprs[0]
	}
	return function + "(" + strings.Join(exprs, ", ") + ")"
}

// literal writes a string as SQL, for a format.
func literal(s string) string {
	return "'" + strings.NewReplacer("'", "''", "%", "%%").Replace(s) + "'"
}
