package plan

import (
	_ "embed" // the bundled plan
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/goccy/go-yaml"
)

//go:embed plan.yaml
var bundled []byte

// Plan states which rows a deletion removes: the messages, their child rows and the
// conversation's row. It is data, so that another schema needs a file and no code. The zero value is not valid; see [Parse].
//
// Names are taken as they are written, upper case included: Post is the table
// that SQL calls "Post". A table is schema.table, or table alone for the one that
// the search path finds when the worker starts. Double quotes, as in SQL, keep a
// dot in a table's name together: social."posts.2026"; a quote in a quoted name is
// written twice. A column's dots need no quotes.
type Plan struct {
	// Tenant is the one app that the tables belong to. Required where they have
	// no app column, and only there; commands of other apps are refused.
	Tenant        string            `yaml:"tenant"`
	Messages      MessageTable      `yaml:"messages"`
	Conversations ConversationTable `yaml:"conversations"`
	Children      []ChildTable      `yaml:"children"`
}

// Columns names the columns of a table that hold the command's ids. App is ""
// where there is one tenant. Columns may be text, varchar, bigint, integer or
// uuid, or a domain over one of them.
type Columns struct {
	App          string `yaml:"app"`
	User         string `yaml:"user"`
	Conversation string `yaml:"conversation"`
}

// MessageTable is the table with one row for each message of each owner.
type MessageTable struct {
	Table   string `yaml:"table"`
	Columns `yaml:",inline"`
	Seq     string `yaml:"seq"`     // the message's position; smallint, integer or bigint, not null
	SentAt  string `yaml:"sent_at"` // timestamptz, or timestamp, which is UTC unless its default says otherwise; not null, or with a default
}

// ConversationTable is the table with one row for each conversation of each owner.
type ConversationTable struct {
	Table   string `yaml:"table"`
	Columns `yaml:",inline"`
	// Unread is the counter that shrinks to the number of messages which
	// remain; "" if there is none.
	Unread string `yaml:"unread"`
}

// ChildTable is a table whose rows belong to messages, either by the messages'
// own columns (Columns and Seq) or by a reference to one column of theirs. A table
// with two references is in the plan twice.
type ChildTable struct {
	Table      string `yaml:"table"`
	Columns    `yaml:",inline"`
	Seq        string     `yaml:"seq"`
	References *Reference `yaml:"references"`
}

// Reference joins a child's Column to the messages' column To, in which no two
// messages have the same value. A child row with a reference can't be
// found any more once its message is deleted: a writer that adds such a row should
// have a foreign key, or lock the message, or check that it is still there.
type Reference struct {
	Column string `yaml:"column"`
	To     string `yaml:"to"`
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
// every problem, one to a line, and what was expected. Whether the tables
// exist is checked by [Open].
func Parse(data []byte) (Plan, error) {
	var p Plan
	if err := yaml.UnmarshalWithOptions(data, &p, yaml.Strict()); err != nil {
		return Plan{}, fmt.Errorf("plan: %w", err)
	}
	if err := p.validate(); err != nil {
		return Plan{}, err
	}
	return p, nil
}

// validate finds what is wrong with the plan alone.
func (p Plan) validate() error {
	v := &planErrors{perApp: p.Messages.App != ""}
	v.table("messages.table", p.Messages.Table)
	v.columns("messages", p.Messages.Columns, map[string]string{"seq": p.Messages.Seq, "sent_at": p.Messages.SentAt})
	v.table("conversations.table", p.Conversations.Table)
	v.columns("conversations", p.Conversations.Columns, nil)
	if p.Conversations.Unread != "" {
		v.column("conversations.unread", p.Conversations.Unread)
	}
	for i, c := range p.Children {
		path := fmt.Sprintf("children[%d]", i)
		v.table(path+".table", c.Table)
		switch {
		case c.References == nil:
			v.columns(path, c.Columns, map[string]string{"seq": c.Seq})
		case c.Columns != Columns{} || c.Seq != "":
			v.add("%s: give either references or app, user, conversation and seq, not both", path)
		default:
			v.column(path+".references.column", c.References.Column)
			v.column(path+".references.to", c.References.To)
		}
	}
	if (p.Tenant == "") != v.perApp {
		v.add("tenant: name the one app that the tables belong to if, and only if, they have no app column")
	}
	return errors.Join(v.errs...)
}

// planErrors collects what is wrong with a plan.
type planErrors struct {
	perApp bool // the messages have an app column
	errs   []error
}

func (v *planErrors) add(format string, args ...any) {
	v.errs = append(v.errs, fmt.Errorf("plan: "+format, args...))
}

func (v *planErrors) table(path, name string) {
	if name == "" {
		v.add("%s is missing: it must name a table", path)
	} else if _, err := parseTable(name); err != nil {
		v.add("%s: %s: %w", path, name, err)
	}
}

func (v *planErrors) column(path, name string) {
	if name == "" {
		v.add("%s is missing: it must name a column", path)
	} else if _, err := parseColumn(name); err != nil {
		v.add("%s: %s: %w", path, name, err)
	}
}

// columns checks a table's key columns and those that come with them.
func (v *planErrors) columns(path string, c Columns, more map[string]string) {
	if (c.App != "") != v.perApp {
		v.add("%s.app: either every table has an app column or none has", path)
	}
	all := map[string]string{"user": c.User, "conversation": c.Conversation}
	if c.App != "" {
		all["app"] = c.App
	}
	maps.Copy(all, more)
	by := map[string]string{}
	for _, field := range slices.Sorted(maps.Keys(all)) {
		v.column(path+"."+field, all[field])
		if other := by[all[field]]; other != "" && all[field] != "" {
			v.add("%s.%s: column %s is %s already", path, field, all[field], other)
		}
		by[all[field]] = field
	}
}
