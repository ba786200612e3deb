package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lethe-im/lethe/internal/purge"
)

// wantConstant refuses a constant that the column can't hold: Postgres would, too, in the middle of a deletion, or no
// row would ever be found.
func (k *checker) wantConstant(m *member, field string, c column, v Value) {
	if c.typ == 0 { // missing, which has been reported
		return
	}
	if expected := expects(c, v); expected != "" {
		k.refuse("%s.%s: column %s of %s is %s, and the plan has %s: expected %s", m.path, field, quote(c.name), m.rel, c.typeName, found(v), expected)
	}
}

// found is a constant as an error names it.
func found(v Value) string {
	if v.Kind == Text {
		return "the text " + strconv.Quote(v.Text)
	}
	return v.String()
}

// expects says what a constant for the column must be; "" if the value is that.
func expects(c column, v Value) string {
	is := func(fits bool, expected string) string {
		if fits {
			return ""
		}
		return expected
	}
	if v.Kind == Null {
		return is(!c.notNull, "another value: the column is never null")
	}
	switch c.typ {
	case pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID, pgtype.QCharOID:
		if n := utf8.RuneCountInString(v.Text); c.max > 0 && n > c.max {
			return "at most " + purge.Count(c.max, "character")
		}
		return is(v.Kind == Text, fmt.Sprintf("a text in quotes, '%s'", v.Text))
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID:
		_, err := strconv.ParseInt(v.Text, 10, map[uint32]int{pgtype.Int2OID: 16, pgtype.Int4OID: 32, pgtype.Int8OID: 64}[c.typ])
		return is(v.Kind == Number && err == nil, "a whole number without quotes, in the type's range")
	case pgtype.NumericOID:
		return is(v.Kind == Number, "a whole number without quotes")
	case pgtype.BoolOID:
		return is(v.Kind == Bool, "true or false, without quotes")
	case pgtype.UUIDOID:
		return is(v.Kind == Text && uuidForm.MatchString(v.Text), "a UUID such as 6ba7b810-9dad-11d1-80b4-00c04fd430c8")
	}
	if len(c.labels) > 0 {
		return is(v.Kind == Text && slices.Contains(c.labels, v.Text), "one of "+strings.Join(c.labels, ", "))
	}
	return "a column of text, varchar, char, smallint, integer, bigint, numeric, boolean, uuid or an enum; others can't be compared with a constant"
}
