package repo

import (
	"context"
	"errors"
	"fmt"

	"github.com/lethe-im/lethe/internal/purge"
)

// oldestServer is the first Postgres that has all the functions which the
// statements call (pg_current_xact_id).
const oldestServer = 130000

// Warnings returns what the check of the plan let pass but an operator should
// know, one line each; nil for none. Don't change it.
func (r *Repo) Warnings() []string { return r.schema.warnings }

// resolve checks the plan against the catalog and returns what the statements
// are made from. It only reads. Every problem is one line of the error. The
// error is the infrastructure's where only that is missing which an operator provides
// without touching the plan (a grant, the ledger, a replica identity, a rebuilt
// index), and else purge.Command: the plan and the tables don't fit.
func resolve(ctx context.Context, q querier, plan Plan, opts resolveOptions) (*schema, error) {
	if err := plan.validate(); err != nil {
		return nil, unfit(err)
	}
	names := append(plan.tableNames(), ledgerNames()...)
	cat, err := readCatalog(ctx, q, names)
	if err != nil {
		return nil, err
	}
	if cat.version < oldestServer {
		return nil, unfit(fmt.Errorf("postgres: the server is version %d; 13 or newer is needed", cat.version/10000))
	}
	k := &checker{plan: plan, cat: cat}
	s := k.build()
	k.checkDistinct()
	k.checkTables(opts.sessions)
	k.checkConversations()
	k.checkIndexes()
	k.checkForeignKeys(s)
	k.checkCollations()
	if !opts.anyRole {
		k.checkGrants(s.Locked)
	}
	k.checkLedger(opts.anyRole)
	if opts.allowUnindexed {
		for _, err := range k.unindexed {
			k.warnings = append(k.warnings, err.Error())
		}
		k.unindexed = nil
	}
	if err := k.verdict(); err != nil {
		return nil, err
	}
	s.warnings = k.warnings
	return s, nil
}

func (c Config) resolveOptions() resolveOptions {
	return resolveOptions{allowUnindexed: c.AllowUnindexed, sessions: int(c.MaxConns)}
}

// resolveOptions are the worker's settings that the check knows.
type resolveOptions struct {
	anyRole        bool // what the role may do isn't asked: the worker's is another
	allowUnindexed bool // a missing index is a warning
	sessions       int  // connections that the worker may have; 0: how many locks they take isn't asked
}

// CheckPlan checks the plan against the tables and returns its warnings, as a worker
// would log them at its start, whatever the role at url may do with them. The error
// is that of [Open]. It only reads.
func CheckPlan(ctx context.Context, url string, plan Plan) (warnings []string, err error) {
	l, err := OpenLedger(ctx, url)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	err = l.begin().read(ctx, func(ctx context.Context, q querier) error {
		s, err := resolve(ctx, q, plan, resolveOptions{anyRole: true, allowUnindexed: true})
		if err == nil {
			warnings = s.warnings
		}
		return err
	})
	return warnings, classifyShared(ctx, err)
}

func unfit(err error) error { return &purge.FaultError{Fault: purge.Command, Cause: "plan", Err: err} }

// checker compares one plan with one catalog. What it finds it keeps, so that
// all of it is told at once.
type checker struct {
	plan     Plan
	cat      *catalog
	messages member
	convs    member
	children []member

	problems  []error         // the plan and the tables don't fit
	unindexed []error         // they do, slowly
	indexes   map[string]bool // asked for in unindexed
	lacking   []error         // what a grant or a setup mends
	cause     string          // of lacking, for metrics
	warnings  []string
}

// member is a table of the plan as the catalog has it.
type member struct {
	path string    // in the plan: children[1]
	rel  *relation // nil if there is none
	keys []string  // the columns with the command's ids; nil for a reference
	seq  string    // "" for a reference and for the conversations
	ref  Reference // zero but for a reference
}

// members are all of the plan's tables, the messages' first.
func (k *checker) members() []member { return append([]member{k.messages, k.convs}, k.children...) }

func (k *checker) refuse(format string, args ...any) {
	k.problems = append(k.problems, fmt.Errorf("plan: "+format, args...))
}

func (k *checker) warn(format string, args ...any) {
	k.warnings = append(k.warnings, fmt.Sprintf(format, args...))
}

// verdict is nil if all is well.
func (k *checker) verdict() error {
	if len(k.problems)+len(k.unindexed) > 0 {
		all := append(append(k.problems, k.unindexed...), k.lacking...)
		return unfit(errors.Join(all...))
	}
	if len(k.lacking) > 0 {
		return &purge.FaultError{Fault: purge.Infrastructure, Cause: k.cause, Err: errors.Join(k.lacking...)}
	}
	return nil
}

// tableNames are the plan's tables, which have been validated.
func (p Plan) tableNames() []tableName {
	tables := []string{p.Messages.Table, p.Conversations.Table}
	for _, c := range p.Children {
		tables = append(tables, c.Table)
	}
	names := make([]tableName, len(tables))
	for i, t := range tables {
		names[i], _ = parseTable(t)
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
			if m.ref == (Reference{}) || other.ref == (Reference{}) || m.ref == other.ref {
				k.refuse("%s: table %s stands at %s already; only children by different references may be of one table", m.path, m.rel, other.path)
				break
			}
		}
		seen[m.rel.oid] = append(seen[m.rel.oid], m)
	}
}
