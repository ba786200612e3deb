package repo

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/lethe-im/lethe/internal/purge"
)

// schema is a plan that has been checked against the catalog: quoted names and
// the types of the key columns. The statements are made from it.
type schema struct {
	Messages      messages
	Conversations conversations
	Children      []child
	// Locked says that something refers to the messages by a foreign key or by
	// a reference: then the messages are locked first, what hangs on them goes,
	// and they go last.
	Locked bool
	tenant string
	// encoding is the database's, as Postgres calls it.
	encoding string
	// bounds are the key columns that can't hold every id.
	bounds []bound
	// cascades is the foreign key by which the history would go together with the
	// conversation's row, in words; "" if there is none.
	cascades string
	warnings []string
}

// bound is a key column that can't hold every id, and its table.
type bound struct {
	table  string // quoted
	column keyColumn
}

// tables are all tables of the plan, the messages' first.
func (s *schema) tables() []table {
	out := []table{s.Messages.table, s.Conversations.table}
	for _, c := range s.Children {
		out = append(out, c.table)
	}
	return out
}

// emptied are the tables whose rows a deletion removes one after the other, in the
// order in which they can be: child rows that refer to messages by foreign keys first.
func (s *schema) emptied() []table {
	all := []table{s.Messages.table}
	for _, c := range s.Children {
		all = append(all, c.table)
	}
	if s.Locked {
		all = append(all[1:], all[0])
	}
	return all
}

// bind notes the bounds, so that a deletion is held against no others.
func (s *schema) bind() {
	for _, t := range s.tables() {
		for _, k := range t.keys {
			if k.typ != textKey || k.max > 0 {
				s.bounds = append(s.bounds, bound{t.Name, k})
			}
		}
	}
}

type table struct {
	Name string // quoted
	// Parted says that rows are in tables of their own, whose ctids repeat each
	// other's.
	Parted bool
	keys   []keyColumn
}

// From is the table for a statement that goes by ctid alone where the rows are in
// one table: whatever comes to inherit from it later is left out.
func (t table) From() string {
	if t.Parted {
		return t.Name
	}
	return "only " + t.Name
}

// At is the condition that the row under the alias row is one of those that the
// query found lists by part and id. It makes one scan of all places: a join makes
// one for each, which begins by asking the kernel how large the table is.
func (t table) At(row, found string) string {
	at := row + ".ctid = any (array(select f.id from " + found + " f))"
	if t.Parted {
		at += " and (" + row + ".tableoid, " + row + ".ctid) in (select f.part, f.id from " + found + " f)"
	}
	return at
}

// Keys are the key columns of a row of t, under the alias row.
func (t table) Keys(row string) string {
	keys := make([]string, len(t.keys))
	for i, k := range t.keys {
		keys[i] = row + "." + k.column
	}
	return strings.Join(keys, ", ")
}

type messages struct {
	table
	Seq, SentAt string // quoted
	Unique      bool   // no two messages of a history have one position
	clock       clock  // how SentAt keeps a time
}

type conversations struct {
	table
	Unread string // quoted; "" if there is none
	// Hints are the columns, quoted, that say whether there were messages: above 0.
	Hints []string
}

// Doubt is the expression for the columns Hints of a row and their values,
// as hint_0 and so on: null where none of them shows a message.
func (c conversations) Doubt() string {
	parts := make([]string, len(c.Hints))
	for i, t := range c.Hints {
		parts[i] = fmt.Sprintf("case when hint_%d > 0 then %s || hint_%d::text end", i, text(unquoted(t)+" "), i)
	}
	return "nullif(pg_catalog.concat_ws(', ', " + strings.Join(parts, ", ") + "), '')"
}

// unquoted is the name that a quoted one stands for.
func unquoted(s string) string { return strings.ReplaceAll(s[1:len(s)-1], `""`, `"`) }

// text writes a string as SQL.
func text(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

type child struct {
	table
	Seq           string // quoted; "" for a reference
	messageSeq    string // the messages' seq column, quoted
	Reference, To string // quoted; "" for a range
	referenceCast string // "::text" for a varchar, as in [keyColumn.equals]
}

// keyColumn is a column that holds one of the command's ids.
type keyColumn struct {
	id     string // app_id, user_id or conversation_id
	column string // quoted
	typ    keyType
	max    int // varchar(n): the most characters; 0 for no limit
}

type keyType string

const (
	textKey     keyType = "text"
	bigintKey   keyType = "bigint"
	intKey      keyType = "integer"
	uuidKey     keyType = "uuid"
	uuidTextKey keyType = "uuid::text" // text that holds a UUID as Postgres writes it
)

// Match returns the condition that a row of t, under the alias row, belongs to
// the deletion under the alias q, whose ids are text.
func (t table) Match(row, q string) string {
	conds := make([]string, len(t.keys))
	for i, k := range t.keys {
		conds[i] = k.equals(row, q+"."+k.id)
	}
	return strings.Join(conds, " and ")
}

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

// MatchArgs is [table.Match] for a statement about one deletion, whose app, user
// and conversation are parameters of these names.
func (t table) MatchArgs(row string) string {
	args := map[string]string{"app_id": "@app::text", "user_id": "@user::text", "conversation_id": "@conversation::text"}
	conds := make([]string, len(t.keys))
	for i, k := range t.keys {
		conds[i] = k.equals(row, args[k.id])
	}
	return strings.Join(conds, " and ")
}

// HangsOn returns the condition that the child's row hangs on the message.
func (c child) HangsOn(row, message, q string) string {
	if c.Reference != "" {
		return fmt.Sprintf("%s.%s%s = %s.%s%[3]s", row, c.Reference, c.referenceCast, message, c.To)
	}
	return fmt.Sprintf("%s and %s.%s = %s.%s", c.Match(row, q), row, c.Seq, message, c.messageSeq)
}

// HangsOnArgs is [child.HangsOn] for a statement about one deletion; see
// [table.MatchArgs].
func (c child) HangsOnArgs(row, message string) string {
	if c.Reference != "" {
		return c.HangsOn(row, message, "")
	}
	return fmt.Sprintf("%s and %s.%s = %s.%s", c.MatchArgs(row), row, c.Seq, message, c.messageSeq)
}

// Hooks are the messages' columns, under the alias row, by which what hangs on a
// message is found: no more, so that the worker needn't be allowed to read a body.
func (s *schema) Hooks(row string) string {
	columns := []string{s.Messages.Seq}
	for _, c := range s.Children {
		if c.To != "" && !slices.Contains(columns, c.To) {
			columns = append(columns, c.To)
		}
	}
	return row + "." + strings.Join(columns, ", "+row+".")
}

// RangeChildren returns the children that can still be found when their
// messages have gone.
func (s *schema) RangeChildren() []child {
	var out []child
	for _, c := range s.Children {
		if c.Reference == "" {
			out = append(out, c)
		}
	}
	return out
}

// Boundary returns the expression that decides the boundary of the deletion
// under the alias q, whose wish is in the column through.
func (s *schema) Boundary(q, through string) string {
	m := s.Messages
	newest := func(expr, cond string) string {
		return fmt.Sprintf("(select %s from %s m where %s%s order by m.%s desc limit 1)", expr, m.Name, m.Match("m", q), cond, m.Seq)
	}
	sentBy := m.clock.sentBy("m."+m.SentAt, q+".stored_at", newest("m."+m.SentAt, ""))
	return fmt.Sprintf("case when %s.%s is null then coalesce(%s, 0) else least(%s.%s, coalesce(%s, 0)) end",
		q, through, newest("m."+m.Seq+"::bigint", " and "+sentBy), q, through, newest("m."+m.Seq+"::bigint", ""))
}

// Moment is an expression of type timestamptz as it compares with the messages'
// sent_at: what is at or before it was sent by then, in every reading.
func (s *schema) Moment(expr string) string { return s.Messages.clock.earliest(expr) }

var uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// fits says why id can't be a key of the column, nil if it can. Spellings of a
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

// conversation names the conversation as the messages' key does: the same for two
// spellings of one UUID.
func (s *schema) conversation(d purge.Deletion) [3]string {
	ids := map[string]string{"app_id": d.App, "user_id": d.User, "conversation_id": d.Conversation}
	for _, k := range s.Messages.keys {
		if k.typ == uuidKey || k.typ == uuidTextKey {
			ids[k.id] = strings.ToLower(ids[k.id])
		}
	}
	return [3]string{ids["app_id"], ids["user_id"], ids["conversation_id"]}
}

// incompatible is [Repo.Incompatible].
func (s *schema) incompatible(d purge.Deletion) (whole bool, err error) {
	if s.tenant != "" && d.App != s.tenant {
		return true, fmt.Errorf("app_id must be %q, whose tables these are", s.tenant)
	}
	if s.cascades != "" && d.KeepHistory {
		return true, fmt.Errorf("keep_history: the history would go with the conversation's row, by %s", s.cascades)
	}
	if len(s.bounds) == 0 {
		return false, nil
	}
	ids := map[string]string{"app_id": d.App, "user_id": d.User, "conversation_id": d.Conversation}
	for _, b := range s.bounds {
		if err := b.column.fits(ids[b.column.id]); err != nil {
			return b.column.id != "conversation_id", fmt.Errorf("table %s: %w", b.table, err)
		}
	}
	return false, nil
}
