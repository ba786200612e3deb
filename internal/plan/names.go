package plan

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// tableName is a table as the plan names it; schema is "" for whatever the
// search path finds.
type tableName struct {
	schema, name string
}

func (n tableName) String() string {
	if n.schema == "" {
		return quote(n.name)
	}
	return quote(n.schema, n.name)
}

// quote writes a name, or schema and name, as SQL that means just this,
// whatever its case and characters.
func quote(parts ...string) string { return pgx.Identifier(parts).Sanitize() }

// parseTable reads table or schema.table. See [Plan] for the rule.
func parseTable(s string) (tableName, error) {
	first, rest, err := nextPart(s, ".")
	if err != nil {
		return tableName{}, err
	}
	if rest == "" {
		return tableName{name: first}, nil
	}
	second, rest, err := nextPart(rest[1:], ".")
	if err != nil {
		return tableName{}, err
	}
	if rest != "" {
		return tableName{}, errors.New("more than schema.table; put double quotes around a name with a dot in it")
	}
	return tableName{schema: first, name: second}, nil
}

// parseColumn reads a column's name; a dot is part of it.
func parseColumn(s string) (string, error) {
	name, rest, err := nextPart(s, "")
	if err == nil && rest != "" {
		err = fmt.Errorf("%s after the closing quote", rest)
	}
	return name, err
}

// nextPart cuts the first name off s, quoted or up to one of the separators,
// which rest then starts with.
func nextPart(s, separators string) (name, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, separators)
		if end < 0 {
			end = len(s)
		}
		name, rest = s[:end], s[end:]
	} else if name, rest, err = unquote(s[1:]); err != nil {
		return "", "", err
	}
	switch {
	case name == "":
		return "", "", errors.New("a name is empty")
	case strings.ContainsRune(name, 0):
		return "", "", errors.New("a name can't hold NUL")
	case rest != "" && !strings.ContainsAny(rest[:1], separators):
		return "", "", fmt.Errorf("%q after a closing quote", rest)
	}
	return name, rest, nil
}

// unquote reads up to the closing quote; two quotes in a row stand for one.
func unquote(s string) (name, rest string, err error) {
	var b strings.Builder
	for {
		end := strings.IndexByte(s, '"')
		if end < 0 {
			return "", "", errors.New("a double quote is not closed")
		}
		b.WriteString(s[:end])
		s = s[end+1:]
		if !strings.HasPrefix(s, `"`) {
			return b.String(), s, nil
		}
		b.WriteByte('"')
		s = s[1:]
	}
}
