package plan

import (
	"fmt"
	"regexp"
	"strconv"
	"unicode/utf8"

	"github.com/lethe-im/lethe/internal/purge"
)

// keyColumn is a column that holds one of the command's ids.
type keyColumn struct {
	id     string // app_id, user_id or conversation_id
	column string // quoted
	typ    keyType
	max    int // varchar(n): the maximum number of characters; 0 for no limit
}

type keyType string

const (
	textKey     keyType = "text"
	bigintKey   keyType = "bigint"
	intKey      keyType = "integer"
	uuidKey     keyType = "uuid"
	uuidTextKey keyType = "uuid::text" // text that holds a UUID as Postgres writes it
)

// equals compares the key with an id. Both sides are of the very type of the server's
// operator: of another one, varchar for one, whoever may create operators in a schema
// of the search path could replace it.
func (k keyColumn) equals(row, id string) string {
	switch k.typ {
	case textKey:
		return fmt.Sprintf("%s.%s::text = %s", row, k.column, id)
	case uuidTextKey:
		return fmt.Sprintf("%s.%s::text = %s::%s", row, k.column, id, k.typ)
	default:
		return fmt.Sprintf("%s.%s = %s::%s", row, k.column, id, k.typ)
	}
}

var uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// fits returns why id can't be a key of the column, nil if it can. Spellings of a
// number that the type would take but not give back (" 7", "007") are refused, for
// no producer means them. A UUID may be in upper or lower case: it is one value.
func (k keyColumn) fits(id string) error {
	switch k.typ {
	case bigintKey, intKey:
		bits := 64
		if k.typ == intKey {
			bits = 32
		}
		n, err := strconv.ParseInt(id, 10, bits)
		if err != nil || strconv.FormatInt(n, 10) != id {
			return fmt.Errorf("%s must be a decimal number of %d bits, as column %s holds", k.id, bits, k.column)
		}
	case uuidKey, uuidTextKey:
		if !uuidForm.MatchString(id) {
			return fmt.Errorf("%s must be a UUID such as 6ba7b810-9dad-11d1-80b4-00c04fd430c8, as column %s holds", k.id, k.column)
		}
	case textKey:
		if n := utf8.RuneCountInString(id); k.max > 0 && n > k.max {
			return fmt.Errorf("%s has %s; column %s holds at most %d", k.id, purge.Count(n, "character"), k.column, k.max)
		}
	}
	return nil
}

// bound is a key column that can't hold every id, and its table.
type bound struct {
	table  string // quoted
	column keyColumn
}
