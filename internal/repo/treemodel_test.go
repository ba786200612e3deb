package repo

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// node is an entry of a random plan: its table has an id, a column up that refers to the entry above, if it is a
// child, and a column for each parent.
type node struct {
	name     string
	children []*node
	parents  []*node
	keeper   string // of a parent: a table that keeps it; "" for none
	set      bool   // a child whose rows stay
	kind     string // of a polymorphic child: what it says it belongs to; "" for another
	pair     bool   // a child that refers by two columns
	rows     map[int64]row
	kept     map[int64]int64 // the keeper's rows, and the parents' that they refer to
}

// row is a row: what it refers to above, and of each parent. 0 is null.
type row struct {
	up      int64
	parents []int64
}

// treeModel is a random plan with its tables, as a model.
type treeModel struct {
	rnd  *rand.Rand
	root *node
	all  []*node
	sql  strings.Builder
	ids  int64
	// position is that of each message.
	position map[int64]int64
}

func (m *treeModel) chance(p float64) bool { return m.rnd.Float64() < p }

// newNode makes an entry and what is below it.
func (m *treeModel) newNode(depth int, parent, mayHaveParents bool) *node {
	n := &node{name: fmt.Sprintf("t%d", len(m.all)), rows: map[int64]row{}, kept: map[int64]int64{}}
	m.all = append(m.all, n)
	if depth < 3 && (!parent || mayHaveParents) {
		for range m.rnd.IntN(3) {
			c := m.newNode(depth+1, false, true)
			switch c.set = len(c.children)+len(c.parents) == 0 && m.chance(0.3); {
			case !c.set && m.chance(0.3):
				c.kind = "it's a " + n.name
			default:
				c.pair = m.chance(0.3)
			}
			n.children = append(n.children, c)
		}
	}
	if !parent && mayHaveParents {
		for range m.rnd.IntN(3) - m.rnd.IntN(2) {
			p := m.newNode(depth+1, true, depth == 0)
			if m.chance(0.3) {
				p.keeper = "keeps_" + p.name
			}
			n.parents = append(n.parents, p)
		}
	}
	return n
}

// create writes the tables' statements. The tables that others refer to come first.
func (m *treeModel) create(n *node, above string) {
	for _, p := range n.parents {
		m.create(p, "")
	}
	action := func() string {
		return []string{"", " on delete cascade", " on delete restrict", " deferrable initially deferred", " on delete no action"}[m.rnd.IntN(5)]
	}
	columns := []string{"id bigint primary key", "two bigint not null default 7", "unique (id, two)"}
	index := []string{}
	if n == m.root {
		columns = append(columns, "owner bigint not null", "thread text not null", "seq bigint not null", "at timestamptz not null default now() - interval '1 hour'", "unique (owner, thread, seq)")
	}
	if above != "" {
		switch ref := ""; {
		case n.kind != "":
			columns = append(columns, "kind text not null", "up text")
		case n.pair:
			columns = append(columns, "up bigint", "up2 bigint default 7", "foreign key (up, up2) references m."+above+" (id, two)"+action())
		default:
			if m.chance(0.7) {
				ref = " references m." + above + action()
			}
			columns = append(columns, "up bigint"+ref)
		}
		index = append(index, map[bool]string{true: "up, up2", false: "up"}[n.pair])
	}
	for i, p := range n.parents {
		ref := ""
		if m.chance(0.7) {
			ref = " references m." + p.name + action()
		}
		columns = append(columns, fmt.Sprintf("p%d bigint%s", i, ref))
		index = append(index, fmt.Sprintf("p%d", i))
	}
	parts := ""
	if n != m.root && m.chance(0.2) {
		parts = " partition by hash (id)"
	}
	fmt.Fprintf(&m.sql, "create table m.%s (%s)%s;\n", n.name, strings.Join(columns, ", "), parts)
	for i := 0; parts != "" && i < 2; i++ {
		fmt.Fprintf(&m.sql, "create table m.%s_%d partition of m.%[1]s for values with (modulus 2, remainder %[2]d);\n", n.name, i)
	}
	for _, c := range index {
		fmt.Fprintf(&m.sql, "create index on m.%s (%s);\n", n.name, c)
	}
	if n.keeper != "" {
		fmt.Fprintf(&m.sql, "create table m.%s (id bigint primary key, ref bigint references m.%s); create index on m.%[1]s (ref);\n", n.keeper, n.name)
	}
	for _, c := range n.children {
		m.create(c, n.name)
	}
}

// yaml writes an entry's lists.
func (n *node) yaml(indent string) string {
	var b strings.Builder
	list := func(field string, of []*node) {
		if len(of) > 0 {
			fmt.Fprintf(&b, "%s%s:\n", indent, field)
		}
		for i, e := range of {
			fmt.Fprintf(&b, "%s- table: m.%s\n", indent, e.name)
			switch {
			case e.pair:
				fmt.Fprintf(&b, "%s  references: {column: [up, up2], to: [id, two]}\n", indent)
			case field == "children":
				fmt.Fprintf(&b, "%s  references: {column: up, to: id}\n", indent)
			default:
				fmt.Fprintf(&b, "%s  references: {column: p%d, to: id}\n", indent, i)
			}
			if e.set {
				fmt.Fprintf(&b, "%s  set: {up: null}\n", indent)
			}
			if e.kind != "" {
				fmt.Fprintf(&b, "%s  where: {kind: \"%s\"}\n", indent, e.kind)
			}
			if e.keeper != "" {
				fmt.Fprintf(&b, "%s  kept_by: [{table: m.%s, references: {column: ref, to: id}}]\n", indent, e.keeper)
			}
			b.WriteString(e.yaml(indent + "  "))
		}
	}
	list("parents", n.parents)
	list("children", n.children)
	return b.String()
}

func (m *treeModel) plan() string {
	children := (&node{children: m.root.children}).yaml("")
	parents := (&node{parents: m.root.parents}).yaml("  ")
	return "tenant: solo\nmessages:\n  table: m.t0\n  user: owner\n  conversation: thread\n  seq: seq\n  sent_at: at\n" + parents + children
}

// fill inserts rows, those that are referred to first.
func (m *treeModel) fill(n *node, above []int64, count int) {
	some := map[*node][]int64{}
	for _, p := range n.parents {
		m.fill(p, nil, 1+count/3)
		some[p] = slices.Sorted(maps.Keys(p.rows))
	}
	for i := range count {
		m.ids++
		r := row{}
		columns, values := []string{"id"}, []string{fmt.Sprint(m.ids)}
		if n == m.root {
			m.position[m.ids] = int64(i + 1)
			columns = append(columns, "owner", "thread", "seq")
			values = append(values, fmt.Sprint(1+i%2), fmt.Sprintf("'%c'", 'a'+i/2%2), fmt.Sprint(i+1))
		}
		if len(above) > 0 {
			columns, r.up = append(columns, "up"), above[m.rnd.IntN(len(above))]
			values = append(values, fmt.Sprintf("'%d'", r.up))
			if n.kind != "" {
				columns, values = append(columns, "kind"), append(values, "'"+strings.ReplaceAll(n.kind, "'", "''")+"'")
			}
		}
		for j, p := range n.parents {
			id := int64(0)
			if m.chance(0.8) {
				id = some[p][m.rnd.IntN(len(some[p]))]
				columns, values = append(columns, fmt.Sprintf("p%d", j)), append(values, fmt.Sprint(id))
			}
			r.parents = append(r.parents, id)
		}
		n.rows[m.ids] = r
		fmt.Fprintf(&m.sql, "insert into m.%s (%s) values (%s);\n", n.name, strings.Join(columns, ", "), strings.Join(values, ", "))
	}
	if n.kind != "" && len(above) > 0 { // rows of others with the same number
		m.ids++
		fmt.Fprintf(&m.sql, "insert into m.%s (id, up, kind) values (%d, '%d', 'another');\n", n.name, m.ids, above[0])
		n.rows[m.ids] = row{parents: make([]int64, len(n.parents))}
	}
	ids := slices.Sorted(maps.Keys(n.rows))
	if n.keeper != "" {
		for _, id := range ids {
			if m.chance(0.2) {
				m.ids++
				n.kept[m.ids] = id
				fmt.Fprintf(&m.sql, "insert into m.%s values (%d, %d);\n", n.keeper, m.ids, id)
			}
		}
	}
	for _, c := range n.children {
		m.fill(c, ids, m.rnd.IntN(2*count+1))
	}
}

// remove removes a row, what refers to it, and what nothing refers to any more.
func (m *treeModel) remove(n *node, id int64) {
	r := n.rows[id]
	delete(n.rows, id)
	for _, c := range n.children {
		for child, cr := range c.rows {
			switch {
			case cr.up != id:
			case c.set:
				cr.up = 0
				c.rows[child] = cr
			default:
				m.remove(c, child)
			}
		}
	}
	for i, p := range n.parents {
		id := r.parents[i]
		if _, there := p.rows[id]; !there || slices.Contains(slices.Collect(maps.Values(p.kept)), id) {
			continue
		}
		if !slices.ContainsFunc(slices.Collect(maps.Values(n.rows)), func(o row) bool { return o.parents[i] == id }) {
			m.remove(p, id)
		}
	}
}

// lost is a query for the rows that refer to nothing, and those of parents that nothing refers to. It always finds the same: a crash may follow
// any step.
func (m *treeModel) lost() string {
	var parts []string
	add := func(rows, cond string) {
		parts = append(parts, "select '"+rows+" ' || x.id as row from m."+rows+" x where "+cond)
	}
	for _, n := range m.all {
		for _, c := range n.children {
			kind := ""
			if c.kind != "" {
				kind = " and kind <> 'another'"
			}
			add(c.name, fmt.Sprintf("x.up is not null%s and not exists (select from m.%s a where a.id::text = x.up::text)", kind, n.name))
		}
		for i, p := range n.parents {
			add(n.name, fmt.Sprintf("x.p%d is not null and not exists (select from m.%s p where p.id = x.p%[1]d)", i, p.name))
			kept := ""
			if p.keeper != "" {
				kept = fmt.Sprintf(" and not exists (select from m.%s k where k.ref = x.id)", p.keeper)
			}
			add(p.name, fmt.Sprintf("not exists (select from m.%s r where r.p%d = x.id)%s", n.name, i, kept))
		}
	}
	if len(parts) == 0 {
		return "select ''"
	}
	return "select coalesce(string_agg(row, ', ' order by row), '') from (" + strings.Join(parts, " union all ") + ") l"
}

// left is what the model and the database have left of each table.
func (m *treeModel) left(t *testing.T, r *Repo) (want, got string) {
	t.Helper()
	for _, n := range m.all {
		want += fmt.Sprintf("%s %v", n.name, slices.Sorted(maps.Keys(n.rows)))
		nulls := 0
		for _, r := range n.rows {
			if n.set && r.up == 0 {
				nulls++
			}
		}
		up := "0"
		if n.set {
			up = "count(*) filter (where up is null)"
		}
		want += fmt.Sprintf(" %d\n", nulls)
		got += queryOne[string](t, r.pool, fmt.Sprintf(`select '%s [' || coalesce(string_agg(id::text, ' ' order by id), '') || '] ' || (%s)::text || E'\n' from m.%[1]s`, n.name, up))
	}
	return want, got
}

// ownersDeletion is a deletion of a thread of owner 1.
func ownersDeletion(command, thread string, through int64) purge.Deletion {
	return purge.Deletion{
		Key: purge.Key{App: "solo", Command: command, User: "1", Conversation: thread}, ThroughSeq: &through, StoredAt: time.Now(), Token: tokens(),
		Digest: purge.DigestOf(purge.Content{User: "1", Targets: []purge.Target{{Conversation: thread, ThroughSeq: &through}}}),
	}
}

// stepThrough takes a deletion to its end by steps of at most limit rows, with a call of after behind each.
func stepThrough(tb testing.TB, r *Repo, d purge.Deletion, limit int, after ...func()) (rec purge.Record, rows int) {
	tb.Helper()
	for range 5000 {
		step, err := r.Step(tb.Context(), d, purge.Part{Claim: true, Finish: true, Limit: limit})
		if fault, _ := purge.FaultOf(err); fault == purge.Contention {
			continue
		} else if err != nil {
			tb.Fatal(err)
		}
		rows += step.Rows
		for _, f := range after {
			f()
		}
		if step.Record.Final() {
			return step.Record, rows
		}
	}
	tb.Fatalf("%+v isn't finished after 5,000 steps", d.Key)
	return rec, rows
}

// Random trees of tables lose what a model loses, whatever the batches are.
func TestRandomTreesLoseWhatAModelSays(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed_", seed), func(t *testing.T) {
			t.Parallel()
			m := &treeModel{rnd: rand.New(rand.NewPCG(15, seed)), position: map[int64]int64{}} //nolint:gosec // a test's
			m.root = m.newNode(0, false, true)
			m.sql.WriteString("create schema m;\n")
			m.create(m.root, "")
			m.fill(m.root, nil, 40)
			url := newLedger(t)
			execSQL(t, openPool(t, url), m.sql.String())
			text := m.plan()
			p, err := plan.Parse([]byte(text))
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			r, err := Open(t.Context(), Config{URL: url, Plan: p})
			if err != nil {
				t.Fatalf("%v\n%s\n%s", err, text, m.sql.String())
			}
			t.Cleanup(r.Close)
			lost := m.lost()
			lostBefore := queryOne[string](t, r.pool, lost)
			if seed == 0 {
				everyStatementUsesIndexes(t, r)
			}
			for i, through := range []int64{m.rnd.Int64N(41), 40} {
				for _, thread := range []string{"a", "b"} {
					before := len(m.root.rows)
					for id, n := range m.position {
						if _, there := m.root.rows[id]; there && n <= through && n%2 == 1 && (n-1)/2%2 == int64(thread[0]-'a') {
							m.remove(m.root, id)
						}
					}
					var deleted int64
					if limit := 1 + m.rnd.IntN(30); i == 1 && thread == "b" {
						rec := purge.Reported{Record: purge.Record{Key: purge.Key{App: "solo", Command: "redo", User: "1", Conversation: thread}, ThroughSeq: through, CompletedAt: time.Now()}}
						deleted = redoThrough(t, r, rec, limit)
					} else {
						rec, _ := stepThrough(t, r, ownersDeletion(fmt.Sprint(i, thread), thread, through), limit, func() {
							if now := queryOne[string](t, r.pool, lost); now != lostBefore {
								t.Fatalf("after a step: %s; want %s\n%s", now, lostBefore, text)
							}
						})
						deleted = rec.MessagesDeleted
					}
					if want := int64(before - len(m.root.rows)); deleted != want {
						t.Errorf("%d messages deleted; want %d", deleted, want)
					}
					if want, got := m.left(t, r); got != want {
						t.Fatalf("through %d of %s; left:\n%s\nwant:\n%s\n%s", through, thread, got, want, text)
					}
				}
			}
		})
	}
}

// redoThrough does a deletion again, and returns how many messages it has deleted.
func redoThrough(t *testing.T, r *Repo, rec purge.Reported, limit int) (messages int64) {
	t.Helper()
	for low := int64(0); ; {
		step, err := r.Replayer().Redo(t.Context(), rec, purge.Part{Low: low, Limit: limit, Finish: true})
		if err != nil {
			t.Fatal(err)
		}
		if messages += int64(step.Messages); step.Finished {
			return messages
		}
		low = step.Low
	}
}
