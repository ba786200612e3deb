package repo

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// NoLedger is why a trial knows nothing of what workers have noted where there are no tables of schema lethe.
const NoLedger = "worker setup has not run here"

// Ledgerless reports whether the database of [OpenTrial] has no ledger: then nothing is there for [Repo.Watch].
func (r *Repo) Ledgerless() bool { return r.ledgerless }

// Trial is what a deletion would do now.
type Trial struct {
	// ThroughSeq is the boundary as it would be pinned; 0 where there is no message.
	ThroughSeq int64
	// Messages is how many would go.
	Messages int64
	// Log is what would be hidden in a shared log with members; nil elsewhere.
	Log *TrialLog
	// Tables are all of the plan's, the messages' first.
	Tables []TrialTable
	// NewestDeleted and OldestKept are when these messages were sent, by their order and the plan's sent_at; zero where there is none.
	NewestDeleted, OldestKept time.Time
	// ConversationRemoved says that no row of the conversation would be left.
	ConversationRemoved bool
	// Pages says how many transactions the dry run took.
	Pages int
	// Doubts are reasons to think that another conversation is meant, for people.
	Doubts []string
	// Blockers are who or what may hold the deletion up, for people.
	Blockers []string
	// Throttles are what workers have noted; what a sample of the database finds ([Repo.Watch]) comes beside it.
	Throttles []purge.Throttle
	// Paces are how fast the last large deletions of this database were, in messages a second, the newest
	// first; Unpaced says why there are none.
	Paces   []float64
	Unpaced string
}

// TrialTable is what would become of a table's rows.
type TrialTable struct {
	Path, Name             string // in the plan; quoted
	Deleted, Updated, Kept int64
	// Bytes are those of the rows that go, as they are stored, without indexes. Estimated says that this
	// role may not read all columns, and that the average row of the table counts.
	Bytes     int64
	Estimated bool

	query string // counts its rows, a page at a time; "" for what goes with the conversation's row
	args  sqlArgs
	stays bool // no row goes
}

// tryPage is how many messages a transaction of the dry run looks at.
const tryPage = 10_000

// tryLarge is from how many messages on a deletion says how fast large ones are.
const tryLarge = 10_000

// Try finds out what the deletion d would do, and changes nothing: each of its transactions
// only reads, and has a page of messages, so that none keeps a snapshot for long. It reads every row that would go once. The role
// needs to read the plan's keys, and nothing of schema lethe.
func (r *Repo) Try(ctx context.Context, d purge.Deletion) (*Trial, error) {
	t := &trial{r: r, a: argsOf(d), out: &Trial{}}
	t.a["wanted"] = d.ThroughSeq
	for _, step := range []func(context.Context) error{t.measure, t.pin, t.log(d), t.count, t.times, t.conversation} {
		if err := step(ctx); err != nil {
			return nil, t.locked(ctx, classifyShared(ctx, err))
		}
	}
	t.doubtTimes(time.Now())
	if err := t.doubt(ctx, d); err != nil {
		return nil, err
	}
	t.block(ctx)
	t.pace(ctx)
	return t.out, nil
}

// OpenTrial is [Open] for [Repo.Try] and [Repo.Watch] alone: all transactions are read-only, the role need not be the worker's, nor schema
// lethe be there. The report says why there is no Repo, if the plan doesn't fit.
func OpenTrial(ctx context.Context, cfg Config) (*Repo, *plan.Report, error) {
	cfg = cfg.withDefaults()
	cfg.Target = ledgerLock // how long a person waits for a lock
	from := &source{url: cfg.URL, lock: cfg.Target}
	conns, err := from.newPools(ctx, 2)
	if err != nil {
		return nil, nil, oneLine(err)
	}
	r := &Repo{cfg: cfg, trial: true, source: from, conns: conns, pool: conns.all[0], ready: conns.all[0]}
	report, err := inspect(ctx, r.begin(false), cfg.Plan, plan.Options{AnyRole: true, BeforeSetup: true, AllowUnindexed: cfg.AllowUnindexed})
	if err != nil || report.Err() != nil {
		r.Close()
		return nil, report, err
	}
	r.plan = report.Checked
	r.plan.Unpin()
	t := r.begin(false)
	t.query(func(rows pgx.Rows) error { return rows.Scan(&r.ledgerless) }, general.get("try_ledgerless"), nil)
	if err := t.commit(ctx); err != nil {
		r.Close()
		return nil, nil, classifyShared(ctx, err)
	}
	return r, report, nil
}

// trial is a dry run at work.
type trial struct {
	r       *Repo
	a       args
	sizes   map[string]string // expressions for the size of a row x, by its table
	out     *Trial
	through int64  // the boundary, or in a shared log the floor
	newest  int64  // of all messages
	newer   bool   // there are messages above through
	needed  bool   // members of a shared log need the conversation's row
	row     string // what the conversation's row says of messages
	missing string
	locks   []string
}

// read runs statements in one transaction that only reads.
func (t *trial) read(ctx context.Context, queue func(*transaction)) error {
	tx := t.r.begin(false)
	queue(tx)
	return tx.commit(ctx)
}

// statement makes one of the dry run's own.
func (t *trial) statement(name string, a sqlArgs) *statement {
	a.Checked, a.Sizes = t.r.plan, t.sizes
	var b strings.Builder
	if err := templates.ExecuteTemplate(&b, name, a); err != nil {
		panic("BUG: " + name + ": " + err.Error())
	}
	return parse(name, strings.TrimSpace(b.String()))
}

// measure finds out how the size of a row is known.
func (t *trial) measure(ctx context.Context) error {
	t.sizes = map[string]string{}
	var names []string
	for _, p := range t.tables() {
		t.out.Tables = append(t.out.Tables, p)
		if !slices.Contains(names, p.Name) {
			names = append(names, p.Name)
		}
	}
	return t.read(ctx, func(tx *transaction) {
		tx.query(func(rows pgx.Rows) error {
			var i, average int64
			var columns []string
			var all bool
			if err := rows.Scan(&i, &columns, &all, &average); err != nil {
				return err
			}
			t.sizes[names[i]] = sizeOf(columns, all, average)
			for n := range t.out.Tables {
				if t.out.Tables[n].Name == names[i] {
					t.out.Tables[n].Estimated = !all
				}
			}
			return nil
		}, general.get("try_columns"), args{"tables": names})
	})
}

// rowHeader is what a row takes beside its columns: its header and its place in the page.
const rowHeader = 28

// sizeOf is an expression for the size of a row x. What is stored apart isn't fetched for that.
func sizeOf(columns []string, all bool, average int64) string {
	if !all {
		return fmt.Sprintf("%d::bigint", average)
	}
	parts := []string{fmt.Sprintf("%d::bigint", rowHeader)}
	for _, c := range columns {
		parts = append(parts, "coalesce(pg_catalog.pg_column_size(x."+c+"), 0)")
	}
	return strings.Join(parts, " + ")
}

// tables are the plan's: the messages and what goes with them, the conversations, if there is a table of them, and what
// goes with these. Each but the conversations has a statement that counts its rows.
func (t *trial) tables() []TrialTable {
	p := t.r.plan
	all := []TrialTable{{Path: "messages", Name: p.Messages.Name, query: "_try_messages"}}
	parents := func(of []*plan.Parent, child *plan.Child) {
		for _, p := range of {
			all = append(all, TrialTable{Path: p.Path, Name: p.Name, query: "_try_parent", args: sqlArgs{Child: child, Parent: p}})
		}
	}
	parents(p.Parents, nil)
	for _, c := range p.Children {
		all = append(all, TrialTable{Path: c.Path, Name: c.Name, query: "_try_child", args: sqlArgs{Child: c}})
		parents(c.Parents, c)
	}
	if p.Conversations.Name != "" {
		all = append(all, TrialTable{Path: conversationsPath, Name: p.Conversations.Name})
	}
	for _, c := range p.Conversations.Children {
		all = append(all, TrialTable{Path: c.Path, Name: c.Name, args: sqlArgs{Child: c}})
	}
	if m := p.Members; m != nil && !slices.ContainsFunc(all, func(t TrialTable) bool { return t.Path == membersPath }) {
		all = append(all, TrialTable{Path: membersPath, Name: m.Name, stays: true})
	}
	slices.SortStableFunc(all, func(a, b TrialTable) int {
		return cmp.Or(cmp.Compare(b.order(), a.order()), strings.Compare(a.Path, b.Path))
	})
	return all
}

const conversationsPath, membersPath = "conversations", "members"

// order puts the messages before their children, and both before the conversations.
func (t TrialTable) order() int {
	switch {
	case strings.HasPrefix(t.Path, "messages"):
		return 2
	case strings.HasPrefix(t.Path, conversationsPath):
		return 0
	}
	return 1
}

// pin finds the boundary.
func (t *trial) pin(ctx context.Context) error {
	return t.read(ctx, func(tx *transaction) {
		tx.query(func(rows pgx.Rows) error {
			var through, newest *int64
			var missing *string
			if err := rows.Scan(&through, &newest, &missing); err != nil {
				return err
			}
			t.out.ThroughSeq, t.missing = value(through), value(missing)
			t.through, t.newest = t.out.ThroughSeq, value(newest)
			t.newer = newest != nil && *newest > t.through
			return nil
		}, t.statement("_try_boundary", sqlArgs{}), t.a)
	})
}

// count counts the rows that go, a page of messages at a time, and then the messages that stay.
func (t *trial) count(ctx context.Context) error {
	type query struct {
		*statement
		of *TrialTable
	}
	var queries []query
	for i, table := range t.out.Tables {
		if table.query != "" {
			queries = append(queries, query{t.statement(table.query, table.args), &t.out.Tables[i]})
		}
	}
	err := t.pages(ctx, math.MinInt64, t.through, tryPage, func(tx *transaction, a args) {
		for _, q := range queries {
			tx.query(func(rows pgx.Rows) error {
				var n, bytes, kept int64
				err := rows.Scan(&n, &bytes, &kept)
				if c := q.of.args.Child; c != nil && c.Set != "" && q.of.args.Parent == nil {
					q.of.Updated += n
					return err
				}
				q.of.Deleted, q.of.Bytes, q.of.Kept = q.of.Deleted+n, q.of.Bytes+bytes, q.of.Kept+kept
				return err
			}, q.statement, a)
		}
	})
	if t.out.Messages = t.out.Tables[0].Deleted; err != nil || !t.newer {
		return err
	}
	kept := t.statement("_try_count", sqlArgs{})
	return t.pages(ctx, t.through, math.MaxInt64, 10*tryPage, func(tx *transaction, a args) {
		tx.query(func(rows pgx.Rows) error {
			var n int64
			err := rows.Scan(&n)
			t.out.Tables[0].Kept += n
			return err
		}, kept, a)
	})
}

// times finds out when the messages at the boundary were sent.
func (t *trial) times(ctx context.Context) error {
	return t.read(ctx, func(tx *transaction) {
		tx.query(func(rows pgx.Rows) error {
			var deleted, kept *int64
			err := rows.Scan(&deleted, &kept)
			if deleted != nil && t.out.Messages > 0 {
				t.out.NewestDeleted = time.UnixMicro(*deleted).UTC()
			}
			if kept != nil {
				t.out.OldestKept = time.UnixMicro(*kept).UTC()
			}
			return err
		}, t.statement("_try_times", sqlArgs{}), t.a.with(args{"through": t.through}))
	})
}

// pages calls queue for each page of messages above low and at or below through.
func (t *trial) pages(ctx context.Context, low, through int64, limit int, queue func(*transaction, args)) error {
	page := t.statement("_try_page", sqlArgs{})
	for {
		high := through
		a := t.a.with(args{"low": low, "through": through, "limit": limit})
		err := t.read(ctx, func(tx *transaction) {
			tx.query(func(rows pgx.Rows) error { return rows.Scan(&high) }, page, a)
		})
		if err == nil {
			err = t.read(ctx, func(tx *transaction) { queue(tx, a.with(args{"high": high})) })
		}
		if t.out.Pages++; err != nil || high >= through {
			return err
		}
		low = high
	}
}

// conversation finds the conversation's row, and what goes with it.
func (t *trial) conversation(ctx context.Context) error {
	c := t.r.plan.Conversations
	t.out.ConversationRemoved = true
	for i := range t.out.Tables {
		table := &t.out.Tables[i]
		var err error
		switch child := table.args.Child; {
		case table.query != "" || table.stays:
		case child == nil:
			err = t.read(ctx, func(tx *transaction) {
				tx.query(func(rows pgx.Rows) error {
					var n, bytes int64
					if err := rows.Scan(&n, &bytes, &t.row, &t.locks); err != nil {
						return err
					}
					switch {
					case !t.newer && !t.needed && !c.Keep:
						table.Deleted, table.Bytes = n, bytes
					case c.Unread != "" || len(c.Set) > 0:
						table.Updated = n
					default:
						table.Kept = n
					}
					t.out.ConversationRemoved = n == table.Deleted
					return nil
				}, t.statement("_try_row", sqlArgs{}), t.a)
			})
		case !t.newer && !t.needed:
			err = t.read(ctx, func(tx *transaction) {
				tx.query(func(rows pgx.Rows) error { return rows.Scan(&table.Deleted, &table.Bytes) }, t.statement("_try_beside", table.args), t.a)
			})
		}
		if err != nil {
			return err
		}
	}
	if log := t.out.Log; log != nil {
		t.out.ConversationRemoved = !log.Member
		i := slices.IndexFunc(t.out.Tables, func(table TrialTable) bool { return table.Path == membersPath })
		if members := &t.out.Tables[i]; log.Member && members.Deleted == 0 && t.r.plan.Members.Sets() {
			members.Updated = 1
		}
	}
	return nil
}
