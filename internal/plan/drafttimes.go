package plan

import (
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
)

// order chooses the position and the time.
func (d *draft) order(path string, r *relation, equal []string, e *Entry) {
	for _, w := range e.Where {
		equal = append(equal, w.Column)
	}
	position := best(r, func(c column) int { return d.positionScore(r, c, equal) })
	sent := best(r, func(c column) int { return d.timeScore(r, c, equal) })
	switch {
	case position != "":
		e.Seq = d.reading(path+".seq", r, position)
	default:
		e.Seq = Reading{Column: open}
		d.note(path+".seq", "No column gives the messages an order: a number that grows, or a time. One that is text needs a generated column: docs/plan.md.")
	}
	if isTime(r.columns[position]) || e.Seq.Unit != "" {
		d.note(path+".seq", "The position is a time: through_seq is microseconds since 1970.")
		return
	}
	if c := r.columns[sent]; sent != "" && !c.notNull && c.preset == "" {
		d.note(path+".seq", "%s may be null, and so can't tell when a message was sent: every command must have through_seq. To use it: "+
			"alter table %s alter column %[1]s set not null, and here sent_at: %[3]s.", quote(sent), r, sent)
		return
	}
	if sent == "" {
		d.note(path+".seq", "No column tells when a message was sent: every command must have through_seq.")
		if position != "" {
			d.note(path+".seq", "If the position holds a time, say how: sent_at: {column: %[1]s, unit: us, shift: 8} is MongooseIM's, "+
				"{column: %[1]s, unit: ms, shift: 22, since: 2015-01-01T00:00:00Z} a Snowflake.", position)
		}
		return
	}
	e.SentAt = d.reading(path+".sent_at", r, sent)
	var others []string
	for _, c := range r.columnNames() {
		if c != sent && c != position && d.timeScore(r, r.columns[c], equal) > 0 {
			others = append(others, c)
		}
	}
	if len(others) > 0 {
		d.note(path+".sent_at", "When the message was stored; other times: %s.", list(others))
	}
}

// reading is how a column's time is read, with a question where its unit isn't known.
func (d *draft) reading(path string, r *relation, name string) Reading {
	out := Reading{Column: name}
	if c := r.columns[name]; !isInteger(c) || d.timeName(c) == 0 {
		return out
	}
	out.Unit = d.unitOf(r, name)
	if out.Unit == "" {
		out.Unit = open
		d.note(path, "The unit is s, ms, us or ns: see how many digits a value has, 10, 13, 16 or 19 (select %s from %s limit 1).", quote(name), r)
	}
	return out
}

// unitOf is the unit of a number that is a time; "" where that isn't known.
func (d *draft) unitOf(r *relation, name string) string {
	if m := unitSuffix.FindStringSubmatch(name); m != nil {
		return unitOfSuffix[strings.ToLower(m[1])]
	}
	if r.columns[name].typ == pgtype.Int4OID {
		return "s" // nothing finer has fitted since 1970
	}
	for unit, second := range map[string]int64{"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9} {
		if v := d.numbers[r][name]; v/second >= 1e9 && v/second < 4e9 { // 2001 to 2096
			return unit
		}
	}
	return ""
}

// timeName is how much a column's name is that of the time at which a message was sent.
func (d *draft) timeName(c column) int {
	name := bare(unitSuffix.ReplaceAllString(c.name, ""))
	if slices.Contains(rareTimeWords, name) {
		return 1
	}
	return rank(timeWords, name)
}

func (d *draft) timeScore(r *relation, c column, equal []string) int {
	n := d.timeName(c)
	if n == 0 || !isTime(c) && c.typ != pgtype.Int8OID && c.typ != pgtype.Int4OID {
		return 0
	}
	if c.typ == pgtype.TimestamptzOID {
		n += 6
	}
	if isInteger(c) && d.unitOf(r, c.name) == "" {
		n -= 4
	}
	if c.notNull {
		n += 4
	}
	if slices.ContainsFunc(equal, func(e string) bool { return together(r, c.name, e) }) {
		n += 10
	}
	return max(n, 1)
}

func (d *draft) positionScore(r *relation, c column, equal []string) (n int) {
	number := rank(positionWords, bare(c.name))
	switch {
	case slices.Contains(equal, c.name):
		return 0
	case isInteger(c) && number > 0 && d.timeName(c) == 0:
		n = 30 + number
		if strings.HasPrefix(c.preset, "nextval(") || r.unique(c.name) {
			n += 15
		}
	case isTime(c) || isInteger(c):
		if n = d.timeScore(r, c, nil); n == 0 || isInteger(c) && d.unitOf(r, c.name) == "" {
			return min(n, 1)
		}
	default:
		return 0
	}
	if r.indexed(equal, nil, c.name) {
		n += 60
	}
	if c.notNull {
		n += 20
	}
	return n
}
