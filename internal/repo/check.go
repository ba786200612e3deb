package repo

import (
	"context"
	"errors"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// ownTables are what the worker needs of the schema lethe. The column is one that the
// newest migration for the worker has added.
var ownTables = []plan.OwnTable{
	{Schema: "lethe", Name: "commands", Privileges: []string{"select", "insert", "delete"}},
	{Schema: "lethe", Name: "deletions", Column: "erased_at", Privileges: []string{"select", "insert", "update", "delete"}},
	{Schema: "lethe", Name: "enumerations", Privileges: []string{"select", "insert", "update", "delete"}},
	{Schema: "lethe", Name: "watermarks", Privileges: []string{"select", "insert", "update"}},
	{Schema: "lethe", Name: "apps", Privileges: []string{"select"}},
	{Schema: "lethe", Name: "throttles", Privileges: []string{"select"}}, // to everybody; without more a slow batch is recorded nowhere
}

// ErrChanged says that the plan fits the tables, but in another way than when the
// worker started: a type, a key or a foreign key has changed. A Repo that is opened
// anew works with them as they are.
var ErrChanged = errors.New("the plan's tables have changed since they were checked")

// CheckPlan checks the plan against the tables, as a worker does at its start, and
// reports all problems and warnings. The error is that it couldn't be checked. It only reads.
func CheckPlan(ctx context.Context, url string, p plan.Plan, opts plan.Options) (*plan.Report, error) {
	l, err := OpenLedger(ctx, url)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	opts.Neighbors = true
	return inspect(ctx, l.begin(), p, opts)
}

// DraftPlan is [plan.Draft] for the database. It only reads.
func DraftPlan(ctx context.Context, url string, opts plan.DraftOptions) (text string, questions int, err error) {
	l, err := OpenLedger(ctx, url)
	if err != nil {
		return "", 0, err
	}
	defer l.Close()
	err = l.begin().read(ctx, func(ctx context.Context, q plan.Querier) error {
		text, questions, err = plan.Draft(ctx, q, opts)
		return err
	})
	return text, questions, classifyShared(ctx, err)
}

// inspect checks the plan, and the worker's own tables, in the transaction.
func inspect(ctx context.Context, t *transaction, p plan.Plan, opts plan.Options) (report *plan.Report, err error) {
	opts.Own = ownTables
	err = t.read(ctx, func(ctx context.Context, q plan.Querier) error {
		report, err = plan.Inspect(ctx, q, p, opts)
		return err
	})
	return report, classifyShared(ctx, err)
}

// check checks the plan, with the tables beside it at the start alone: no deletion depends on those.
func (r *Repo) check(ctx context.Context, neighbors bool) (*plan.Checked, error) {
	report, err := inspect(ctx, r.begin(false), r.cfg.Plan, plan.Options{AllowUnindexed: r.cfg.AllowUnindexed, Neighbors: neighbors, Connections: int(r.cfg.MaxConns)})
	if err != nil {
		return nil, err
	}
	return report.Checked, classifyShared(ctx, report.Err())
}

// Warnings returns what the check of the plan let pass but an operator should
// know, one line each; nil for none. Don't change it.
func (r *Repo) Warnings() []string { return r.plan.Warnings }

// KnowsTimes reports whether the plan says when messages were sent.
func (r *Repo) KnowsTimes() bool { return r.plan.Messages.SentAt != "" }

// Recheck checks the plan against the catalog again, as [Open] did, and returns its
// warnings. From then on deletions are proven against the triggers that there are now. The error is [ErrChanged], or is never a deletion's own fault, is one
// line, and says what corrects it. It reads the catalog in one short transaction (some
// milliseconds) and changes nothing.
func (r *Repo) Recheck(ctx context.Context) (warnings []string, err error) {
	checked, err := r.check(ctx, false)
	if err != nil {
		fault, cause := purge.FaultOf(err)
		if fault == purge.Command { // here it is an operator who has changed the tables
			fault = purge.Infrastructure
		}
		return nil, &purge.FaultError{Fault: fault, Cause: cause, Err: oneLine(err)}
	}
	if !checked.Same(r.plan) {
		return nil, ErrChanged
	}
	r.triggers.Store(checked.Triggers)
	return checked.Warnings, nil
}
