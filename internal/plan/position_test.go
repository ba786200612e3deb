package plan

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// The numbers of what columns may hold, and bounds near them: what isn't at or below a
// bound is above it, whatever either is.
func TestPositions(t *testing.T) {
	t.Parallel()
	pool := openPool(t)
	at := func(s string) int64 {
		v, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return v.UnixMicro()
	}
	const first, last = math.MinInt64, math.MaxInt64
	times := map[string]int64{
		"2026-11-23 09:00:00.123457": at("2026-11-23T09:00:00.123457Z"), "2345-01-01 00:00:59.999999": at("2345-01-01T00:00:59.999999Z"),
		"1969-12-31 23:59:59.999999": -1, "1970-01-01": 0, "0001-01-01": at("0001-01-01T00:00:00Z"), "9999-12-31 23:59:59.999999": at("9999-12-31T23:59:59.999999Z"),
		"4714-11-24 00:00:00 BC": -210866803200000000, "292999-12-31 23:59:59.999999": 9184019760000000000 - 1, "293000-01-01": last, "infinity": last, "-infinity": first,
	}
	inUTC := map[string]int64{}
	for s, n := range times {
		if strings.Contains(s, "inf") {
			inUTC[s] = n
		} else if text, bc := strings.CutSuffix(s, " BC"); bc {
			inUTC[text+"+00 BC"] = n
		} else {
			inUTC[s+"+00"] = n
		}
	}
	number := func(n int64) string { return fmt.Sprint(n) }
	for name, c := range map[string]struct {
		typ, scale string
		values     map[string]int64
	}{
		"numbers":               {"bigint", "number", map[string]int64{"0": 0, "7": 7, "-7": -7, number(last): last}},
		"small_numbers":         {"smallint", "number", map[string]int64{"0": 0, "32767": 32767}},
		"seconds":               {"bigint", "s", map[string]int64{"0": 0, "-1": -1_000_000, "1764000000": 1764000000_000_000, "9223372036854": 9223372036854_000_000, "9223372036855": last, number(last): last, number(first): first, "-9223372036855": first}},
		"seconds_in_an_integer": {"integer", "s", map[string]int64{"2147483647": 2147483647_000_000, "-2147483648": -2147483648_000_000}},
		"milliseconds":          {"bigint", "ms", map[string]int64{"1764000000123": 1764000000123_000, "-1": -1000, number(last): last, number(first): first}},
		"microseconds":          {"bigint", "us", map[string]int64{"1764000000123456": 1764000000123456, number(last): last}},
		"nanoseconds":           {"bigint", "ns", map[string]int64{"1764000000123456789": 1764000000123456, "1": 0, "-1": -1, "-1000": -1, "-1001": -2, number(last): last / 1000}},
		"timestamptz":           {"timestamptz", "timestamptz", inUTC},
		"timestamp":             {"timestamp", "timestamp", times},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := position{`"c"`, scales[c.scale]}
			bounds := []int64{first, first + 1, -9e18, -1, 0, 1, 9e18, 9184019760000000000, last - 1, last}
			var values []string
			var numbers []int64
			for v, n := range c.values {
				values, numbers = append(values, v), append(numbers, n)
				bounds = append(bounds, n-1, n, n+1) // which may wrap round
			}
			tx, err := pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback(t.Context()) //nolint:errcheck // it has only read
			if _, err := tx.Exec(t.Context(), "set local time zone 'America/New_York'"); err != nil {
				t.Fatal(err)
			}
			rows, err := tx.Query(t.Context(), fmt.Sprintf(`select x.n, b, %s, coalesce(%s, false), coalesce(%s, false)
				from (select c::%s as c, n from unnest($1::text[]) with ordinality v (c, n)) x, unnest($2::bigint[]) b`,
				p.Position("x"), p.AtOrBelow("x", "b"), p.Above("x", "b"), c.typ), values, bounds)
			if err != nil {
				t.Fatal(err)
			}
			var i int
			var bound, got int64
			var atOrBelow, above bool
			_, err = pgx.ForEachRow(rows, []any{&i, &bound, &got, &atOrBelow, &above}, func() error {
				v, want := values[i-1], numbers[i-1]
				if got != want {
					return fmt.Errorf("%s is number %d; want %d", v, got, want)
				}
				cut := bound == first || c.scale == "ns" || strings.HasPrefix(c.scale, "timestamp") && bound >= 9184019760000000000 // what lies so far out is in some order only
				if atOrBelow != (want <= bound) && !cut || above == atOrBelow && bound != first {
					t.Errorf("%s: at or below %d: %t, above it: %t; want %t, %t", v, bound, atOrBelow, above, want <= bound, want > bound)
				}
				if bound == first && !above {
					t.Errorf("%s is not above the first number, with which scans begin", v)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}
