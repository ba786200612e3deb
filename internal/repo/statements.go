package repo

import (
	"embed"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/lethe-im/lethe/internal/plan"
)

// sqlFiles are the statements, as templates: each {{define}} is one, or, with an
// underscore in front, a part of several. Files say what they have in common.
//
//go:embed sql/*.sql
var sqlFiles embed.FS

var templates = template.Must(template.New("sql").ParseFS(sqlFiles, "sql/*.sql"))

// statement is one statement. Its parameters have names (@app), and stand for $1, $2 and
// so on in the order in which the text first names them.
type statement struct {
	name, sql string
	params    []string
}

// args are the values of a statement's parameters, by their names. A statement takes
// those that it has, so that several can share one.
type args map[string]any

// with returns a copy of a with more.
func (a args) with(more args) args {
	all := make(args, len(a)+len(more))
	for k, v := range a {
		all[k] = v
	}
	for k, v := range more {
		all[k] = v
	}
	return all
}

// bind returns the values in the order of the parameters.
func (s *statement) bind(a args) []any {
	values := make([]any, len(s.params))
	for i, p := range s.params {
		v, given := a[p]
		if !given {
			panic("BUG: statement " + s.name + " has no value for @" + p)
		}
		values[i] = v
	}
	return values
}

// explain returns the statement that plans s and doesn't run it.
func (s *statement) explain() *statement {
	return &statement{name: s.name, sql: "explain " + s.sql, params: s.params}
}

// nulls are values for all of the parameters.
func (s *statement) nulls() args {
	a := args{}
	for _, p := range s.params {
		a[p] = nil
	}
	return a
}

// statements are all statements that a plan needs, by their names. Those of the long
// lane that are made for each child table have its index behind the name.
type statements map[string]*statement

// get returns a statement. To ask for one that isn't there is a programming error.
func (s statements) get(name string) *statement {
	if found := s[name]; found != nil {
		return found
	}
	panic("BUG: no statement " + name)
}

// child returns the statement for the i-th child table.
func (s statements) child(name string, i int) *statement { return s.get(childName(name, i)) }

func childName(name string, i int) string { return fmt.Sprintf("%s_%d", name, i) }

// all returns the statements in the order of their names.
func (s statements) all() []*statement {
	all := make([]*statement, 0, len(s))
	for _, st := range s {
		all = append(all, st)
	}
	slices.SortFunc(all, func(a, b *statement) int { return strings.Compare(a.name, b.name) })
	return all
}

// planless are the files whose statements don't depend on a plan.
var planless = []string{"watch.sql", "people.sql", "setup.sql", "try.sql", "sweep.sql"}

// general are the statements that need no plan.
var general = makeStatements(nil)

// sqlArgs is what a template sees: the plan and the variant that is wanted.
type sqlArgs struct {
	*plan.Checked
	Child      *plan.Child       // nil for the messages themselves
	SkipLocked bool              // pass over what others have locked, instead of waiting
	Pin        bool              // decide the boundary too
	One        bool              // for one deletion, whose values aren't arrays
	Replay     bool              // spare what was sent after the deletion had finished
	Ledgerless bool              // in a dry run: schema lethe can't be read
	Listed     bool              // of commands that name their deletions by a rule, and are entered
	List       *plan.List        // where such deletions are found
	ListUsers  bool              // and not conversations
	Start      bool              // the first id, and not the one after i.id
	Parent     *plan.Parent      // in a dry run: of the messages, or the rows of Child
	Sizes      map[string]string // expressions for the bytes of a row x, by its table, in a dry run
}

// Size is an expression for the bytes of a row x of the table, in a dry run.
func (a sqlArgs) Size(table string) string { return a.Sizes[table] }

// RowKeys are what a dry run needs of the child table's rows x: their size, or the references to the parent.
func (a sqlArgs) RowKeys() string {
	if a.Parent != nil {
		return ", " + a.Parent.Columns("x")
	}
	return ", " + a.Size(a.Child.Name) + " as bytes"
}

// Skipping, Pinning, Single, Listing and Replaying are the variants.
func (a sqlArgs) Skipping() sqlArgs  { a.SkipLocked = true; return a }
func (a sqlArgs) Pinning() sqlArgs   { a.Pin = true; return a }
func (a sqlArgs) Single() sqlArgs    { a.One = true; return a }
func (a sqlArgs) Listing() sqlArgs   { a.Listed = true; return a }
func (a sqlArgs) Replaying() sqlArgs { a.Replay = true; return a }

// Of is the arguments for a part about a child table.
func (a sqlArgs) Of(c *plan.Child) sqlArgs { a.Child = c; return a }

// Hides reports whether the plan's deletions hide, instead of removing rows.
func (a sqlArgs) Hides() bool { return a.Members != nil }

// Parents are those of the child table, or of the messages.
func (a sqlArgs) Parents() []*plan.Parent {
	if a.Child != nil {
		return a.Child.Parents
	}
	return a.Checked.Parents
}

// Removes reports whether the members' rows of a shared log go with its conversation's.
func (a sqlArgs) Removes() bool {
	return a.Members != nil && a.Conversations.Name != "" && !a.Conversations.Keep
}

// EndsConversations reports whether conversations' rows go, and EndingChildren are those children of theirs that are found without the row.
func (a sqlArgs) EndsConversations() bool       { return a.Conversations.Name != "" && !a.Conversations.Keep }
func (a sqlArgs) EndingChildren() []*plan.Child { return endingChildren(a.Checked) }

// Sum is the sum of numbers.
func (a sqlArgs) Sum(numbers ...int) (sum int) {
	for _, n := range numbers {
		sum += n
	}
	return sum
}

// KeptWatermark, KeptUnread, KeptLedger, KeptZero and KeptMissing are what hide_kept returns.
func (a sqlArgs) KeptWatermark() int { return keptWatermark }
func (a sqlArgs) KeptUnread() int    { return keptUnread }
func (a sqlArgs) KeptLedger() int    { return keptLedger }
func (a sqlArgs) KeptZero() int      { return keptZero }
func (a sqlArgs) KeptMissing() int   { return keptMissing }

// ParentColumns are the columns of a row by which its parents are found.
func (a sqlArgs) ParentColumns(row string) string { return plan.ParentColumns(a.Parents(), row) }

// First is the arguments for the first id of the list.
func (a sqlArgs) First() sqlArgs { a.Start = true; return a }

// Users is the arguments for a list of users.
func (a sqlArgs) Users() sqlArgs { a.ListUsers = true; return a }

// NextID is " and " with the condition that the row l of the list is behind i.id.
func (a sqlArgs) NextID() string {
	switch {
	case !a.Start:
		return " and " + a.List.After("l", "i.id")
	case a.List.Text():
		return " and " + a.List.After("l", "''")
	}
	return ""
}

// Ours is [plan.Locked].
func (a sqlArgs) Ours(row string) string { return plan.Locked(row) }

// SentInReplay is " and " with the condition that the message m was sent by the moment, in a replay.
func (a sqlArgs) SentInReplay(moment string) string {
	if !a.Replay {
		return ""
	}
	return " and " + a.SentBy("m", moment)
}

// PositionAndSent are the position of the message m, and 1 where it was sent by the moment.
func (a sqlArgs) PositionAndSent(moment string) string {
	return "array[" + a.Messages.Position("m") + ", (" + a.SentBy("m", moment) + ")::int]"
}

// Below are the child tables that refer to the child table, or to the messages.
func (a sqlArgs) Below() []*plan.Child {
	if a.Child != nil {
		return a.Child.Children
	}
	return a.ReferringChildren()
}

// Table is the child table, or the messages'.
func (a sqlArgs) Table() plan.Table {
	if a.Child != nil {
		return a.Child.Table
	}
	return a.Messages.Table
}

// LockFirst says that bulk locks the messages in a statement of its own.
func (a sqlArgs) LockFirst() bool { return a.Loose || a.SkipLocked && a.Locked }

// SearchPath is the search path of all that the worker does, as an expression.
func (a sqlArgs) SearchPath() string { return searchPath }

// makeStatements fills the templates in: those of a plan, or with none those that
// need none. They are ours and the plan has been checked, so that an error here is a
// programming error.
func makeStatements(s *plan.Checked) statements {
	made := statements{}
	add := func(template, name string, a sqlArgs) {
		a.Checked = s
		var b strings.Builder
		if err := templates.ExecuteTemplate(&b, template, a); err != nil {
			panic("BUG: " + template + ": " + err.Error())
		}
		if text := strings.TrimSpace(b.String()); text != "" { // else it is not for such a plan
			made[name] = parse(name, text)
		}
	}
	for _, t := range templates.Templates() {
		name := t.Name()
		switch {
		case strings.HasPrefix(name, "_") || strings.HasSuffix(name, ".sql") || name == "sql":
		case slices.Contains(planless, t.ParseName) != (s == nil):
		case strings.HasPrefix(name, "bulk_") && s != nil && (s.Single() || s.Members != nil):
		case strings.HasPrefix(name, "child_"):
			for i, c := range s.Children {
				add(name, childName(name, i), sqlArgs{Child: c})
			}
		case strings.HasPrefix(name, "list_"):
			for i, l := range lists(s, name) {
				add(name, childName(name, i), sqlArgs{List: l})
			}
		default:
			add(name, name, sqlArgs{})
		}
	}
	return made
}

// lists are the tables for the statements of a name, none where the plan can't list what they are for.
func lists(s *plan.Checked, name string) []*plan.List {
	find := s.ConversationsOfUser
	if name == "list_users" {
		find = s.UsersOfConversation
	}
	found, _ := find()
	return found
}

// token finds a parameter in a text, and what may look like one: a comment, a name, a string.
var token = regexp.MustCompile(`--[^\n]*|"(?:[^"]|"")*"|'(?:[^']|'')*'|@[a-z_]+`)

// parse numbers the parameters of a text.
func parse(name, text string) *statement {
	s := &statement{name: name}
	s.sql = token.ReplaceAllStringFunc(text, func(p string) string {
		if p[0] != '@' {
			return p
		}
		i := slices.Index(s.params, p[1:])
		if i < 0 {
			i = len(s.params)
			s.params = append(s.params, p[1:])
		}
		return "$" + strconv.Itoa(i+1)
	})
	return s
}
