package plan

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/lethe-im/lethe/internal/purge"
)

// condition is that a column of a row has a value.
type condition struct {
	column string // quoted
	typ    keyType
	max    int // varchar(n): the maximum number of characters; 0 for no limit
	value  value
}

type keyType string

const (
	textKey     keyType = "text"
	bigintKey   keyType = "bigint"
	intKey      keyType = "integer"
	uuidKey     keyType = "uuid"
	uuidTextKey keyType = "uuid::text" // text that holds a UUID as Postgres writes it
	sameKey     keyType = ""           // of the type of what it is compared with
)

// value is what a condition compares a column with: an id of the command, a part of one, what another
// table keeps instead of one, or a constant.
type value struct {
	id       string  // app_id, user_id or conversation_id; "" for a lookup and a constant
	part     idPart  // of the id; zero for all of it
	lookup   *lookup // nil for all others
	constant string  // the condition behind the column
}

// idPart is the nth of so many parts of an id.
type idPart struct {
	at    string
	n, of int
}

// lower is the id with this part in lower case.
func (p idPart) lower(id string) string {
	parts := strings.Split(id, p.at)
	switch {
	case p.of == 0:
		return strings.ToLower(id)
	case len(parts) == p.of:
		parts[p.n-1] = strings.ToLower(parts[p.n-1])
	}
	return strings.Join(parts, p.at)
}

// lowerSQL is lower for an expression.
func (p idPart) lowerSQL(id string) string {
	if p.of == 0 {
		return "pg_catalog.lower(" + id + ")"
	}
	parts := make([]string, p.of)
	for i := range parts {
		if parts[i] = fmt.Sprintf("pg_catalog.split_part(%s, %s, %d)", id, text(p.at), i+1); i+1 == p.n {
			parts[i] = "pg_catalog.lower(" + parts[i] + ")"
		}
	}
	return "(" + strings.Join(parts, " || "+text(p.at)+" || ") + ")"
}

// lookup is a column of the one row to which the conditions apply.
type lookup struct {
	table, column string // quoted
	conditions    []condition
	typeName      string // the column's
	pin           pin    // zero where the row depends on no id of the command
}

// uses reports whether the row depends on such an id of the command.
func (l *lookup) uses(such func(id string) bool) bool {
	return slices.ContainsFunc(l.conditions, func(c condition) bool {
		return c.value.id != "" && such(c.value.id) || c.value.lookup != nil && c.value.lookup.uses(such)
	})
}

// ids gives the expressions, of type text, for the ids of a deletion.
type ids struct {
	command func(id string) string // those of the command
	// pinned is for what was looked up; nil to look up.
	pinned func(pin, *lookup) string
}

// equals is the condition for a row. Both sides are of the very type of the server's
// operator: of another one, varchar for one, whoever may create operators in a schema
// of the search path could replace it.
func (c condition) equals(row string, of ids) string {
	column := row + "." + c.column
	if c.value.constant != "" {
		return column + c.value.constant
	}
	if l := c.value.lookup; l != nil {
		switch {
		case c.typ == textKey:
			return column + "::text = " + l.value(of)
		case of.pinned == nil || l.pin.zero():
			return column + " = " + l.find("", of)
		}
		return fmt.Sprintf("%s = (%s)::%s", column, l.value(of), l.typeName)
	}
	id := of.command(c.value.id)
	if p := c.value.part; p.of > 0 {
		id = fmt.Sprintf("pg_catalog.split_part(%s, %s, %d)", id, text(p.at), p.n)
	}
	switch c.typ {
	case textKey:
		return column + "::text = " + id
	case uuidTextKey:
		return fmt.Sprintf("%s::text = %s::%s", column, id, c.typ)
	default:
		return fmt.Sprintf("%s = %s::%s", column, id, c.typ)
	}
}

// find is the value that is looked up, null if there is none. A subquery with a limit is never
// joined: it is a value for the index of the table that it is compared with.
func (l *lookup) find(cast string, of ids) string {
	return fmt.Sprintf("(select l.%s%s from %s l where %s limit 1)", l.column, cast, l.table, allOf("l", l.conditions, ids{command: of.command}))
}

// value is what was looked up, as text.
func (l *lookup) value(of ids) string {
	if of.pinned == nil || l.pin.zero() {
		return l.find("::text", of)
	}
	return of.pinned(l.pin, l)
}

// allOf is the condition that all of them apply to the row; true if there are none.
func allOf(row string, conditions []condition, of ids) string {
	if len(conditions) == 0 {
		return "true"
	}
	all := make([]string, len(conditions))
	for i, c := range conditions {
		all[i] = c.equals(row, of)
	}
	return strings.Join(all, " and ")
}

var uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// String is the value for people, if it is an id.
func (v value) String() string {
	if v.part.of == 0 {
		return v.id
	}
	return fmt.Sprintf("part %d of %s", v.part.n, v.id)
}

// fits returns why id can't be a key of the column, nil if it can. Spellings of a
// number that the type would take but not give back (" 7", "007") are refused, for
// no producer means them. A UUID may be in upper or lower case: it is one value.
func (c condition) fits(id string) error {
	if p := c.value.part; p.of > 0 {
		parts := strings.Split(id, p.at)
		if len(parts) != p.of || slices.Contains(parts, "") {
			return fmt.Errorf("%s must have %s with %q between them, none of them empty, for column %s holds part %d", c.value.id, purge.Count(p.of, "part"), p.at, c.column, p.n)
		}
		id = parts[p.n-1]
	}
	switch c.typ {
	case bigintKey, intKey:
		bits := 64
		if c.typ == intKey {
			bits = 32
		}
		n, err := strconv.ParseInt(id, 10, bits)
		if err != nil || strconv.FormatInt(n, 10) != id {
			return fmt.Errorf("%s must be a decimal number of %d bits, as column %s holds", c.value, bits, c.column)
		}
	case uuidKey, uuidTextKey:
		if !uuidForm.MatchString(id) {
			return fmt.Errorf("%s must be a UUID such as 6ba7b810-9dad-11d1-80b4-00c04fd430c8, as column %s holds", c.value, c.column)
		}
	case textKey:
		if n := utf8.RuneCountInString(id); c.max > 0 && n > c.max {
			return fmt.Errorf("%s has %s; column %s holds at most %d", c.value, purge.Count(n, "character"), c.column, c.max)
		}
	case sameKey:
	}
	return nil
}

// holdsAll reports whether the column can hold every id.
func (c condition) holdsAll() bool {
	return c.value.id == "" || c.value.part.of == 0 && c.typ == textKey && c.max == 0
}

// bound is a condition that not every id can meet, and its table.
type bound struct {
	table     string // quoted
	condition condition
}
