package plan

import (
	"fmt"
)

// position is a message's place in the order of a conversation's messages, as a column of an
// index keeps it. Statements know it as a number of type bigint, that of a time as the
// microseconds since 1970-01-01 UTC. Bounds are such numbers: any of them is safe, for
// what a column can't hold is cut to what it can.
type position struct {
	Seq string // the column, quoted
	scale
}

// scale says how a column keeps a position: formats in SQL, of the column for number and
// of a bound for the others.
type scale struct {
	number  string
	highest string // the greatest value of the column at or below the bound
	lowest  string // the least value above the bound; "" where what isn't at or below highest is above
	last    string // the number from which all values are one; "" where lowest is
	time    bool
}

// scales of the columns that may be a position. Of a coarse time, and of one in nanoseconds,
// several values may be one number, or several numbers one value. The first number is below all values, so
// that a scan may begin with it; the last is above all.
var scales = map[string]scale{
	"number": {number: asIs + "::bigint", highest: asIs},
	"us":     {number: asIs + "::bigint", highest: asIs, time: true},
	"ms":     coarseScale("1000", "9223372036854775"),
	"s":      coarseScale("1000000", "9223372036854"),
	"ns": {
		number:  "(%[1]s / 1000 - (%[1]s %% 1000 < 0)::int)::bigint",
		highest: bounded("%[1]s * 1000 + 999", "9223372036854775", firstNumber, lastNumber),
		lowest:  bounded("(%[1]s + 1) * 1000", "9223372036854775", firstNumber, "null"),
		last:    lastNumber,
		time:    true,
	},
	"timestamp":   timestampScale(asIs, asIs),
	"timestamptz": timestampScale("(%s at time zone 'UTC')", "(%s at time zone 'UTC')"),
}

const firstNumber, lastNumber = "(-9223372036854775808)::bigint", "9223372036854775807::bigint"

// bounded is a value made from a bound, or first or last for a bound as far from 0 as limit or farther.
func bounded(value, limit, first, last string) string {
	return "case when %[1]s <= -" + limit + " then " + first + " when %[1]s >= " + limit + " then " + last + " else " + value + " end"
}

// coarseScale is that of a number of units of so many microseconds each; of more than max units it
// knows no more than that they are many.
func coarseScale(unit, max string) scale {
	const first, last = "when " + firstNumber + " then " + firstNumber, "when " + lastNumber + " then "
	floor := "%[1]s / " + unit + " - (%[1]s %% " + unit + " < 0)::int"
	return scale{
		number:  "case when %[1]s < -" + max + " then " + firstNumber + " when %[1]s > " + max + " then " + lastNumber + " else %[1]s::bigint * " + unit + " end",
		highest: "case %[1]s " + first + " " + last + lastNumber + " else " + floor + " end",
		lowest:  "case %[1]s " + first + " " + last + "null else " + floor + " + 1 end",
		time:    true,
	}
}

// timestampScale is that of a timestamp, which plain reads from the column and stored makes what the column
// keeps. All is exact: extract has fractions of microseconds' error before Postgres 14. Times
// after the year 293000, and infinity, are one number.
func timestampScale(plain, stored string) scale {
	const year293000, day = "9184019760000000000", "86400000000"
	at := func(more string) string {
		return "timestamp '1970-01-01' + pg_catalog.make_interval(days => (%[1]s / " + day + ")::int) + (%[1]s %% " + day + more + ") * interval '1 microsecond'"
	}
	bound := func(value, least, last string) string {
		return fmt.Sprintf(stored, "case when %[1]s = "+firstNumber+" then timestamp '-infinity' when %[1]s < -210866803200000000 then timestamp '"+least+"'"+
			" when %[1]s >= "+year293000+" then "+last+" else "+value+" end")
	}
	column := fmt.Sprintf(plain, "%[1]s")
	return scale{
		number: "case when " + column + " >= timestamp '293000-01-01' then " + lastNumber + " when " + column + " = timestamp '-infinity' then " + firstNumber +
			" else extract(epoch from pg_catalog.date_trunc('second', " + column + "))::bigint * 1000000 + extract(microseconds from " + column + ")::bigint %% 1000000 end",
		highest: bound(at(""), "-infinity", "timestamp 'infinity'"),
		lowest:  bound(at(" + 1"), "4714-11-24 BC", "null::timestamp"), // the first one that there is
		last:    year293000,
		time:    true,
	}
}

// Position is the number of the position of the row.
func (p position) Position(row string) string { return fmt.Sprintf(p.number, row+"."+p.Seq) }

// AtOrBelow is the condition that the position of the row is at or below the bound.
func (p position) AtOrBelow(row, bound string) string {
	return row + "." + p.Seq + " <= " + p.of(p.highest, bound)
}

// Above is the condition that the position of the row is above the bound.
func (p position) Above(row, bound string) string {
	if p.lowest == "" {
		return row + "." + p.Seq + " > " + p.of(p.highest, bound)
	}
	return row + "." + p.Seq + " >= " + p.of(p.lowest, bound)
}

// at is the condition that the position of the row is the number seq.
func (p position) at(row, seq string) string {
	if p.lowest == "" {
		return row + "." + p.Seq + " = " + seq
	}
	before := "(greatest(least(" + seq + ", " + p.last + "), -9223372036854775807) - 1)"
	return p.Above(row, before) + " and " + p.AtOrBelow(row, seq)
}

// of is a value made from a bound.
func (p position) of(format, bound string) string {
	if format == asIs {
		return bound
	}
	return "(" + fmt.Sprintf(format, bound) + ")"
}
