// Package plan is the language in which an operator states which rows a deletion
// removes, and the check of such a plan against a database's catalog. A plan that fits
// becomes a [Checked], which statements are made from. The package only reads, in the
// caller's transaction.
package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/purge"
)

// oldestServer is the first Postgres that has all the functions which the
// statements call (pg_current_xact_id).
const oldestServer = 130000

// CheckServer returns an error if the server's version, as server_version_num, is older
// than Lethe works with.
func CheckServer(version int) error {
	if version >= oldestServer {
		return nil
	}
	return fmt.Errorf("postgres %d is too old: Lethe needs %d or newer: upgrade it", version/10000, oldestServer/10000)
}

// Querier is a connection with an open transaction that reads.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Options are what a check knows of the worker. The zero value checks the plan's tables
// alone.
type Options struct {
	// Own are the worker's own tables. They must be there, too.
	Own []OwnTable
	// BeforeSetup makes it a warning that none of them is there: the tables come first.
	BeforeSetup bool
	// AnyRole leaves out what the connection's role may do: the worker's is another.
	AnyRole bool
	// AllowUnindexed makes a missing index a warning.
	AllowUnindexed bool
	// Neighbors looks at the tables beside the plan's, too.
	Neighbors bool
	// Connections is how many the worker may have; 0: how many locks they take isn't checked.
	Connections int
}

// OwnTable is a table of the worker's own.
type OwnTable struct {
	Schema, Name string
	// Column is one that must be there; "" for none.
	Column string
	// Privileges are what the worker needs: select, insert, update, delete.
	Privileges []string
}

// Check is [Inspect] for who needs a plan that fits. Every problem is one line of the error,
// with the statement that solves it, where there is one. The error is the infrastructure's
// where only that is missing which an operator provides without touching the plan (a
// grant, an own table, a replica identity, a rebuilt index), and else [purge.Command]: the
// plan and the tables don't fit.
func Check(ctx context.Context, q Querier, p Plan, opts Options) (*Checked, error) {
	r, err := Inspect(ctx, q, p, opts)
	if err != nil {
		return nil, err
	}
	return r.Checked, r.Err()
}

// Inspect compares the plan with the catalog and reports all problems and warnings. The
// error is that the catalog couldn't be read.
func Inspect(ctx context.Context, q Querier, p Plan, opts Options) (*Report, error) {
	if err := p.validate(problems{}); err != nil {
		return Incomparable(err), nil
	}
	names := p.tableNames()
	for _, own := range opts.Own {
		names = append(names, own.name())
	}
	cat, err := readCatalog(ctx, q, names)
	if err != nil {
		return nil, err
	}
	if err := CheckServer(cat.version); err != nil {
		return Incomparable(err), nil
	}
	k := &checker{plan: p, cat: cat}
	s := k.build()
	s.Triggers = k.firesTriggers(opts.Own)
	k.checkDistinct()
	k.checkLookups()
	k.checkTables(opts.Connections)
	k.checkConversations()
	k.checkIndexes()
	k.checkLists(s)
	k.noteUndated(s)
	k.noteFloor()
	k.checkForeignKeys(s)
	k.checkCollations()
	k.checkTied()
	k.checkDoubts()
	if !opts.AnyRole {
		k.checkGrants(s.Locked)
	}
	k.checkOwn(opts)
	if opts.Neighbors {
		if err := k.checkNeighbors(ctx, q); err != nil {
			return nil, err
		}
	}
	if opts.AllowUnindexed {
		for _, err := range k.unindexed {
			k.warnings = append(k.warnings, err.Error())
		}
		k.unindexed = nil
	}
	return k.report(s), nil
}

// ErrNoTables is in the error about a plan of whose tables the database has none: it is of
// another database, or of none.
var ErrNoTables = errors.New("the database has none of the plan's tables")

// noTables is an error that is [ErrNoTables], too.
type noTables struct{ error }

// Is implements the interface of [errors.Is].
func (noTables) Is(target error) bool { return target == ErrNoTables }

// Unwrap returns the error itself.
func (e noTables) Unwrap() error { return e.error }

func misfit(err error) error { return &purge.FaultError{Fault: purge.Command, Cause: "plan", Err: err} }

// checker compares one plan with one catalog. It collects what it finds, so that
// the operator gets all of it at once.
type checker struct {
	plan     Plan
	cat      *catalog
	messages member
	convs    member
	memb     member // of a shared log
	// children are those of the messages and of others, as in Checked, parents all parents, keepers
	// the tables of kept_by, and convChildren the conversations' children.
	children, parents, keepers, convChildren []member
	pointed                                  member               // the messages' parent with the position; zero if they have it
	newest                                   []string             // the messages' columns that set reads
	lookups                                  map[string]*lookedUp // by the id's name
	active                                   []index              // of the members' rows that the plan finds, and not of all

	problems  []error         // the plan and the tables don't fit
	unindexed []error         // they do, slowly
	indexes   map[string]bool // asked for in unindexed
	lacking   []error         // what a grant or a setup solves
	cause     string          // of lacking, for metrics
	warnings  []string
	notes     []string // for [Report.Notes]
}

// member is a table of the plan as the catalog has it.
type member struct {
	path string    // in the plan: children[1]
	rel  *relation // nil if there is none
	keys []string  // the columns with the command's ids, and others in their place
	ids  []string  // what is in each of keys, as the plan names it: $user
	// constants are the columns that must have one value. Null is none: an index isn't read in order behind it.
	constants []string
	nulls     []string // the columns that must be null
	seq       string   // "" for a reference and for the conversations
	// ref is the reference to the rows above, or, of a parent, that of the rows above to it; zero without one.
	ref    Reference
	above  *member // nil without a reference
	parent bool
	where  []Pair
	sets   []string // the columns that set changes
}

// own is the reference that rows of the table have; zero for none, and for a parent.
func (m member) own() Reference {
	if m.parent {
		return Reference{}
	}
	return m.ref
}

// joined are the columns of the table by which rows of others are found, or these from others.
func (k *checker) joined(m member) []string {
	out := slices.Clone(m.own().Column)
	if m.parent {
		out = append(out, m.ref.To...)
	}
	for _, o := range slices.Concat(k.members(), k.keepers) {
		switch {
		case o.above == nil || o.above.path != m.path:
		case o.parent:
			out = append(out, o.ref.Column...)
		default:
			out = append(out, o.ref.To...)
		}
	}
	return out
}

// members are all of the plan's tables, the messages' first.
func (k *checker) members() []member {
	return slices.Concat([]member{k.messages, k.convs}, k.children, k.parents, k.convChildren, []member{k.memb})
}

func (k *checker) refuse(format string, args ...any) {
	k.problems = append(k.problems, errors.New(oneLine(fmt.Sprintf("plan: "+format, args...))))
}

func (k *checker) warn(format string, args ...any) {
	k.warnings = append(k.warnings, oneLine(fmt.Sprintf(format, args...)))
}

// oneLine is a text without the line breaks that names in it may have: each line of a report is a finding.
func oneLine(text string) string { return strings.ReplaceAll(text, "\n", " ") }

// verdict is nil if all is well.
func (k *checker) verdict() error {
	if len(k.problems)+len(k.unindexed) > 0 {
		err := errors.Join(append(append(k.problems, k.unindexed...), k.lacking...)...)
		if !slices.ContainsFunc(k.members(), func(m member) bool { return m.rel != nil }) {
			err = noTables{err}
		}
		return misfit(err)
	}
	if len(k.lacking) > 0 {
		return &purge.FaultError{Fault: purge.Infrastructure, Cause: k.cause, Err: errors.Join(k.lacking...)}
	}
	return nil
}

// tableNames are the plan's tables, which have been validated.
func (p Plan) tableNames() []tableName {
	var names []tableName
	add := func(table string) {
		n, _ := parseTable(table)
		names = append(names, n)
	}
	for _, e := range p.Entries() {
		add(e.Table)
	}
	for _, id := range p.IDs {
		if id.Lookup != nil {
			add(id.Lookup.Table)
		}
	}
	return names
}

// checkDistinct refuses a table that has two parts in the plan, except for
// children by different references.
func (k *checker) checkDistinct() {
	seen := map[uint32][]member{}
	for _, m := range k.members() {
		if m.rel == nil {
			continue
		}
		for _, other := range seen[m.rel.oid] {
			if m.clashes(other) {
				k.refuse("%s: table %s is named at %s already; only children by different references, or with different conditions, may be of one table", m.path, m.rel, other.path)
				break
			}
		}
		seen[m.rel.oid] = append(seen[m.rel.oid], m)
	}
}

// clashes reports whether the two entries of one table may have rows in common, or would do different things
// with them.
func (m member) clashes(other member) bool {
	if m.parent && other.parent {
		return false
	}
	return m.own().none() || other.own().none() || m.above.path == other.above.path && m.ref.same(other.ref) && slices.Equal(m.where, other.where)
}

// none reports whether there is no reference, or one of which something is missing.
func (r Reference) none() bool {
	return len(r.Column) == 0 || slices.Contains(r.Column, "") || slices.Contains(r.To, "")
}

func (r Reference) same(other Reference) bool {
	return slices.Equal(r.Column, other.Column) && slices.Equal(r.To, other.To)
}

// to is the column to which a column refers; "" if it doesn't.
func (r Reference) to(column string) string {
	if i := slices.Index(r.Column, column); i >= 0 {
		return r.To[i]
	}
	return ""
}

// within reports whether the foreign key has the reference's pairs of columns.
func (r Reference) within(f foreignKey) bool {
	for i, c := range r.Column {
		if at := slices.Index(f.columns, c); at < 0 || f.refs[at] != r.To[i] {
			return false
		}
	}
	return true
}
