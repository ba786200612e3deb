package plan

import (
	_ "embed" // the bundled plan
	"slices"
	"strings"
	"time"
)

//go:embed plan.yaml
var bundled []byte

// Plan states which rows a deletion removes. It is data, so that another schema needs a
// file and no code. One idea: an entry is a table and the conditions that tell which of
// its rows belong to the deletion. Entries form a tree: children refer to the entry
// above, parents are referred to by it. The zero value is not valid; see [Parse].
//
// Names are taken as they are written, upper case included: Post is the table
// that SQL calls "Post". A table is schema.table, or table alone for the one that
// the search path finds when the worker starts. Double quotes, as in SQL, keep a
// dot in a table's name together: social."posts.2026"; a quote in a quoted name is
// written twice. A column's dots need no quotes.
type Plan struct {
	// Tenant is the one app that the tables belong to. Required where no condition
	// uses $app, and only there; commands of other apps are refused.
	Tenant string
	// IDs are what the tables keep instead of the command's ids, in the plan's order.
	IDs []ID
	// Messages has one row for each message of each owner: the message, or, where one
	// of its parents has the position, a pointer to it. See [Plan.Pointed]. In a shared log it
	// has one row for each message, and no condition uses $user.
	Messages Entry
	// Members says who reads a shared log; nil where messages have owners, or with NoMembers.
	Members *Entry
	// NoMembers says that the messages are a shared log, and that no table says who reads it.
	NoMembers bool
	// Everyone says of which conversations all owners' copies can be deleted; nil for none.
	Everyone *Everyone
	// Conversations has one row for each conversation of each owner. Its Table is ""
	// where there is none; children alone may be there then.
	Conversations Entry
	// Children are the child tables of messages.
	Children []Entry
}

// Entry is a table and the conditions that tell which of its rows belong to the deletion.
// Which fields an entry may have depends on its place in the plan: see fields in decode.go.
type Entry struct {
	Table string
	Columns
	// Where are the conditions beside those of Columns, in the plan's order.
	Where []Pair
	// Seq is the message's position; its Column is "" where the entry has none.
	Seq Reading
	// SentAt is when the message was sent; its Column is "" where the position tells
	// it, or nothing does.
	SentAt Reading
	// Watermark is the position through which a member has deleted the conversation, and VisibleFrom
	// the first one that they see; the Column is "" where there is none.
	Watermark, VisibleFrom Reading
	// Unread is the counter that shrinks to the number of messages which remain; "" if
	// there is none.
	Unread string
	// References joins the entry to the one above; nil where it has none.
	References *Reference
	// Set are the columns of a row that stays, and what they become. A child with Set
	// is updated instead of deleted.
	Set []Pair
	// Keep is set where the conversation's row never goes.
	Keep bool
	// Children refer to this entry's rows, and go before them.
	Children []Entry
	// Parents are referred to by this entry's rows, and go with the last of them.
	Parents []Entry
	// KeptBy are other tables whose rows refer to this parent, and keep it.
	KeptBy []Entry

	line  int            // in the file; 0 where the entry comes from nowhere
	lines map[string]int // of the fields, by their path below the entry: references.to
}

// Columns names the columns that hold the command's ids: the short form of conditions
// on $app, $user and $conversation. "" where there is none. They may be text, varchar,
// bigint, integer or uuid, or a domain over one of them.
type Columns struct {
	App, User, Conversation string
}

// Everyone are the conversations whose ids all owners share: those that begin with Prefix.
type Everyone struct {
	Prefix string

	line int
}

// Reading is a column and how a time is read from it.
type Reading struct {
	Column string
	// Unit is that of a number: s, ms, us or ns since Since. "" where the column is a
	// time as Postgres has it, or, as a position, a plain number.
	Unit string
	// Shift is how many bits of the number are below the unit.
	Shift int
	// Since is the time of 0; the zero Time means 1970 UTC.
	Since time.Time
}

// Reference joins an entry's columns to columns of the entry above, or, for a parent, a column of the
// entry above to the parent's. The lists are of one length. A row with a reference can't be found any more once the
// row that it refers to is deleted: a writer that adds such a row should
// have a foreign key, or lock the message, or check that it is still there.
type Reference struct {
	Column, To []string
}

// Pair is a column and its value: a condition that they are equal, or what the column
// becomes.
type Pair struct {
	Column string
	Value  Value
}

// Value is a constant, or what a name that begins with $ stands for. Text is a constant text,
// or a number or bool as YAML writes it, or the name without $: app, user, conversation or one of
// the plan's ids, and for Newest the column.
type Value struct {
	Kind ValueKind
	Text string
}

// ValueKind tells a [Value]'s kinds apart.
type ValueKind int

// The kinds of values.
const (
	Null   ValueKind = iota
	Text             // a constant
	Number           // a constant
	Bool             // a constant, true or false
	Name             // $app, $user, $conversation or one of the plan's ids
	Newest           // $newest.column: of the newest message that remains
	Count            // $count: of the messages that remain
)

// String is the value as a plan writes it.
func (v Value) String() string {
	switch v.Kind {
	case Null:
		return "null"
	case Text:
		if strings.HasPrefix(v.Text, "$") {
			return "$" + v.Text
		}
		return v.Text
	case Name:
		return "$" + v.Text
	case Newest:
		return "$newest." + v.Text
	case Count:
		return "$count"
	case Number, Bool:
	}
	return v.Text
}

// ID is something that the tables keep instead of an id of the command: a part of one, or
// a column of a row in another table. Just one of Split and Lookup is set.
type ID struct {
	Name   string
	Split  *Split
	Lookup *Lookup

	line  int
	lines map[string]int // as in Entry
}

// Split is a part of an id of the command. The id must have exactly as many parts as the
// greatest that the plan names for this id and separator, none of them empty.
type Split struct {
	Of   string // app, user or conversation
	At   string // the separator
	Part int    // counted from 1
}

// Lookup is a column of the row, at most one, to which all of the conditions apply.
type Lookup struct {
	Table  string
	Where  []Pair
	Column string
}

// Bundled returns the plan of the bundled schema, chat.
func Bundled() Plan {
	p, err := Parse(bundled)
	if err != nil {
		panic("BUG: the bundled plan: " + err.Error())
	}
	return p
}

// Parse reads a plan from YAML. Unknown fields are errors. The error names
// every problem, one to a line, with its line of the file, what was found and what
// was expected. Whether the tables exist is checked by [Check].
func Parse(data []byte) (Plan, error) {
	p, known := decode(data)
	if err := p.validate(known); err != nil {
		return Plan{}, err
	}
	return p, nil
}

// Conditions are all of the entry's conditions: those of its Columns, app, user and conversation,
// and then Where.
func (e Entry) Conditions() []Pair {
	var out []Pair
	for _, c := range []struct{ column, name string }{{e.App, "app"}, {e.User, "user"}, {e.Conversation, "conversation"}} {
		if c.column != "" {
			out = append(out, Pair{c.column, Value{Name, c.name}})
		}
	}
	return append(out, e.Where...)
}

// ID finds one of the plan's ids by its name.
func (p Plan) ID(name string) (ID, bool) {
	i := slices.IndexFunc(p.IDs, func(id ID) bool { return id.Name == name })
	if i < 0 {
		return ID{}, false
	}
	return p.IDs[i], true
}

// Pointed is the index among the messages' parents of the one that has the position, and with it
// the conversation and the time; -1 where the messages have them.
func (p Plan) Pointed() int {
	if p.Messages.Seq.Column != "" {
		return -1
	}
	return slices.IndexFunc(p.Messages.Parents, func(e Entry) bool { return e.Seq.Column != "" })
}

// Shared reports whether the messages are a shared log.
func (p Plan) Shared() bool { return p.Members != nil || p.NoMembers }

// Placed is an entry and its path in the plan: children[0].parents[1].
type Placed struct {
	Path string
	Entry
}

// Entries are all entries of the plan, each before those below it, kept_by included: messages with their parents
// first, then the conversations, the messages' children and the members. Conversations without a table
// are left out, and not what is below them.
func (p Plan) Entries() []Placed {
	out := placed(nil, "messages", p.Messages)
	out = placed(out, "conversations", p.Conversations)
	for i, c := range p.Children {
		out = placed(out, nth("children", i), c)
	}
	if p.Members != nil {
		out = placed(out, "members", *p.Members)
	}
	return slices.DeleteFunc(out, func(e Placed) bool { return e.Path == "conversations" && e.Table == "" })
}

func placed(out []Placed, path string, e Entry) []Placed {
	out = append(out, Placed{path, e})
	for _, below := range e.below() {
		for i, b := range below.entries {
			out = placed(out, nth(path+"."+below.field, i), b)
		}
	}
	return out
}

// below are the lists of entries below the entry.
func (e Entry) below() []entryList {
	return []entryList{{"children", e.Children}, {"parents", e.Parents}, {"kept_by", e.KeptBy}}
}

type entryList struct {
	field   string
	entries []Entry
}
