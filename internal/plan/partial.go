package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
)

// constants are the conditions that an index of some rows has, as a plan writes them: that columns are null, true or false, or a text
// or number. false where it has others.
func (r *relation) constants(i index) (out []Pair, ok bool) {
	if p, found := r.constantOf(i.condition); found {
		return []Pair{p}, true
	}
	inner := strings.TrimSuffix(strings.TrimPrefix(i.condition, "("), ")")
	for _, part := range strings.Split(inner, " AND ") {
		p, found := r.constantOf(part)
		if !found {
			return nil, false
		}
		out = append(out, p)
	}
	return out, true
}

// constantOf is one of constants.
func (r *relation) constantOf(part string) (Pair, bool) {
	for _, name := range r.columnNames() {
		c := r.columns[name]
		for _, q := range []string{name, quote(name)} {
			switch {
			case part == "("+q+" IS NULL)":
				return Pair{name, Value{Kind: Null}}, true
			case c.typ == pgtype.BoolOID && slices.Contains([]string{q, "(" + q + ")", "(" + q + " = true)"}, part):
				return Pair{name, Value{Bool, "true"}}, true
			case c.typ == pgtype.BoolOID && slices.Contains([]string{"(NOT " + q + ")", "(" + q + " = false)"}, part):
				return Pair{name, Value{Bool, "false"}}, true
			}
			for _, front := range []string{"(" + q + " = ", "((" + q + ")::text = "} {
				value, found := strings.CutPrefix(part, front)
				value, closed := strings.CutSuffix(value, ")")
				text, isText := strings.CutSuffix(value, "'::text")
				switch {
				case !found || !closed:
				case isText && strings.HasPrefix(text, "'") && !strings.ContainsAny(text[1:], `'\`):
					return Pair{name, Value{Text, text[1:]}}, true
				case isInteger(c) && value != "" && strings.Trim(value, "0123456789") == "":
					return Pair{name, Value{Number, value}}, true
				}
			}
		}
	}
	return Pair{}, false
}

// uniqueAmong reports whether no two rows have the same values in the columns, or no two of those that meet the conditions that it returns.
func (r *relation) uniqueAmong(columns ...string) (where []Pair, ok bool) {
	if r.unique(columns...) {
		return nil, true
	}
	for _, i := range r.partial {
		if constants, known := r.constants(i); known && i.unique && !slices.ContainsFunc(i.columns, func(c string) bool { return !slices.Contains(columns, c) }) {
			return constants, true
		}
	}
	return nil, false
}

// activeIndexes are those of the members' indexes of some rows that have the rows which these conditions let through, and perhaps more.
func (m member) activeIndexes(conditions []Pair) (out []index) {
	for _, i := range m.rel.partial {
		constants, ok := m.rel.constants(i)
		if ok && !slices.ContainsFunc(constants, func(c Pair) bool { return !slices.ContainsFunc(conditions, c.same) }) {
			out = append(out, i)
		}
	}
	return out
}

// same reports whether the other condition, whose column the plan may write in quotes, is this one.
func (p Pair) same(other Pair) bool {
	name, err := parseColumn(other.Column)
	return err == nil && name == p.Column && other.Value == p.Value
}

// rejoins is what to do where a member who comes back has a new row, and the others say that they left: as advice behind another
// one, "" where no column says so.
func (k *checker) rejoins(rel *relation, keys []string, conditions []Pair) string {
	for _, name := range rel.columnNames() {
		value := left(rel.columns[name])
		if value == "" || slices.Contains(keys, name) {
			continue
		}
		add := fmt.Sprintf("add to where: {%s: %s}, and ", scalar(name), value)
		if slices.ContainsFunc(conditions, func(c Pair) bool { return Pair{Column: name, Value: c.Value}.same(c) }) {
			add = ""
		}
		active := map[string]string{"null": quote(name) + " is null", "true": quote(name), "false": "not " + quote(name)}[value]
		return fmt.Sprintf("; or, if a member who comes back has a new row, and those of before aren't where %s, %srun: %s where %[1]s",
			active, add, createIndex("create unique index", rel, keys))
	}
	return ""
}
