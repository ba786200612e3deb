package repo

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// form is one way in which tables may keep something, as a column's type, what a plan says of
// it, and the value for a time in microseconds.
type form struct {
	typ, plan string
	value     func(us int64) any
	number    func(us int64) int64 // of the position; nil for a plain number
	grain     int64                // microseconds by which a time may be later than it looks
}

func floorTo(unit int64) func(int64) int64 { return func(us int64) int64 { return us / unit * unit } }

func same(us int64) int64 { return us }

var positionForms = map[string]form{
	"a_number":      {"bigint", "pos", nil, nil, 0},
	"a_timestamptz": {"timestamptz", "pos", func(us int64) any { return time.UnixMicro(us) }, same, 0},
	"a_timestamp":   {"timestamp", "pos", func(us int64) any { return time.UnixMicro(us).UTC() }, same, 0},
	"seconds":       {"integer", "{column: pos, unit: s}", func(us int64) any { return us / 1e6 }, floorTo(1e6), 1e6},
	"milliseconds":  {"bigint", "{column: pos, unit: ms}", func(us int64) any { return us / 1e3 }, floorTo(1e3), 1e3},
	"microseconds":  {"bigint", "{column: pos, unit: us}", func(us int64) any { return us }, same, 0},
	"nanoseconds":   {"bigint", "{column: pos, unit: ns}", func(us int64) any { return us*1000 + us%999 }, same, 0},
}

// timeForms are columns of their own with the time; "" is for none.
var timeForms = map[string]form{
	"":            {},
	"timestamptz": {"timestamptz", "at", func(us int64) any { return time.UnixMicro(us) }, nil, 0},
	"seconds":     {"integer", "{column: at, unit: s}", func(us int64) any { return us / 1e6 }, nil, 1e6},
	"shifted": {"bigint", "{column: at, unit: ms, shift: 22, since: 2015-01-01T00:00:00Z}", func(us int64) any {
		return (us/1000-time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli())<<22 | us%4_000_000
	}, nil, 1e3},
}

// ownerForms are how tables keep the user: columns, the plan's lines for it and for the ids, and the values of columns.
var ownerForms = map[string]struct {
	columns, where, ids string
	values              func(name, host string) string
}{
	"a_text": {"owner text", "user: owner", "", func(name, host string) string { return fmt.Sprintf("'%s@%s'", name, host) }},
	"parts": {
		"name varchar(40), host text", "where: {name: $name, host: $host%s}", "{name: {split: user, at: '@', part: 1}, host: {split: user, at: '@', part: 2}}",
		func(name, host string) string { return fmt.Sprintf("'%s', '%s'", name, host) },
	},
	"a_number_looked_up": {
		"owner int", "where: {owner: $owner%s}", "{name: {split: user, at: '@', part: 1}, host: {split: user, at: '@', part: 2}, owner: {lookup: %s.accounts, where: {host: $host, name: $name}, column: id}}",
		func(name, host string) string {
			return fmt.Sprintf("(select id from %%s.accounts where name = '%s' and host = '%s')", name, host)
		},
	},
}

// whereForms are constant conditions: the column, what it must be, and the values of rows that meet it and that don't.
var whereForms = []struct{ column, want, yes, no string }{
	{},
	{"store text", "archive", "'archive'", "'bookmarks'"},
	{"store varchar(20)", `"$$a'b\\c"`, `E'$a''b\\c'`, "'$$a'"},
	{"store smallint", "3", "3", "4"},
	{"store boolean", "false", "false", "true"},
	{"store timestamptz", "null", "null", "now()"},
	{"store %s.direction", "in", "'in'", "'out'"},
}

// formModel is a plan of random forms, its tables with random rows, and what is in them.
type formModel struct {
	*testing.T
	r         *Repo
	rng       *rand.Rand
	pos, time form
	timed     bool // a time of its own, or the position, says when a message was sent
	unread    bool
	hasRow    bool // there is a table of conversations
	messages  []formMessage
	files     bool
	schema    string
}

type formMessage struct {
	id                 int64
	user, conversation string
	pos, sent          int64 // numbers, sent cut to what the form keeps
	wanted             bool  // the constant condition is met
	gone               bool
}

var formUsers = []string{"alice@x.org", "bob@x.org", "alice@y.org"}

// TestPlansOfEveryForm deletes by plans of random forms what a model deletes, too: together and alone, at once and
// in batches, for the first time and in a replay.
func TestPlansOfEveryForm(t *testing.T) {
	t.Parallel()
	url := newLedger(t)
	for _, name := range slices.Sorted(maps.Keys(positionForms)) {
		for round := range uint64(4) {
			t.Run(fmt.Sprintf("%s/%d", name, round), func(t *testing.T) {
				t.Parallel()
				newFormModel(t, url, name, round).run()
			})
		}
	}
}

func pick[K comparable, V any](rng *rand.Rand, m map[K]V, order func(a, b K) int) V {
	keys := slices.SortedFunc(maps.Keys(m), order)
	return m[keys[rng.IntN(len(keys))]]
}

// newFormModel makes the tables and the plan, whose positions are of the form. The ledger is there.
func newFormModel(t *testing.T, url, position string, seed uint64) *formModel {
	t.Helper()
	m := &formModel{T: t, rng: rand.New(rand.NewPCG(seed, uint64(len(position)))), schema: fmt.Sprintf("%s_%d", position, seed), pos: positionForms[position]}
	owner := pick(m.rng, ownerForms, strings.Compare)
	where := whereForms[m.rng.IntN(len(whereForms))]
	m.time = pick(m.rng, timeForms, strings.Compare)
	m.hasRow, m.files = m.rng.IntN(3) > 0, m.rng.IntN(2) == 0
	m.unread = m.hasRow && m.rng.IntN(2) == 0
	m.timed = m.time.typ != "" || m.pos.number != nil
	in := func(s string) string { return strings.ReplaceAll(s, "%s", m.schema) }

	columns, conds, keys := owner.columns+", conv varchar(80), pos "+m.pos.typ+" not null", "", ""
	for _, c := range strings.Split(owner.columns, ", ") {
		keys += strings.Fields(c)[0] + ", "
	}
	if where.column != "" {
		columns, conds = columns+", "+where.column, "store: "+where.want
	}
	if m.time.typ != "" {
		columns += ", at " + m.time.typ + " not null"
	}
	filter := strings.ReplaceAll(owner.where, "%s", "")
	all := filter + "\n"
	switch {
	case conds == "":
	case strings.Contains(owner.where, "%s"):
		all = strings.Replace(owner.where, "%s", ", "+conds, 1) + "\n"
	default:
		all = owner.where + "\n  where: {" + conds + "}\n"
	}
	unique := ""
	if m.pos.number == nil && m.rng.IntN(2) == 0 {
		unique = "unique "
	}
	sql := `create schema %s; create type %s.direction as enum ('in', 'out');
		create table %s.accounts (id serial primary key, name varchar(40) not null, host varchar(40) not null, unique (host, name));
		insert into %s.accounts (name, host) values ('alice', 'x.org'), ('bob', 'x.org'), ('alice', 'y.org');
		create table %s.messages (id bigserial primary key, ` + columns + `);
		create ` + unique + `index on %s.messages (` + keys + `conv, pos);
		create table %s.inbox (` + owner.columns + `, conv text, unread int not null default 9); create unique index on %s.inbox (` + keys + `conv);
		create table %s.files (message_id bigint not null references %s.messages); create index on %s.files (message_id)`
	text := "tenant: demo\nmessages:\n  table: %s.messages\n  conversation: conv\n  seq: " + m.pos.plan + "\n  " + all
	if m.time.typ != "" {
		text += "  sent_at: " + m.time.plan + "\n"
	}
	if owner.ids != "" {
		text += "ids: " + owner.ids + "\n"
	}
	if m.hasRow {
		text += "conversations:\n  table: %s.inbox\n  conversation: conv\n  " + filter + "\n"
		if m.unread {
			text += "  unread: unread\n"
		}
	}
	if m.files {
		text += "children:\n  - {table: %s.files, references: {column: message_id, to: id}}\n"
	} else {
		sql += "; drop table %s.files"
	}
	pool := openPool(m, url)
	execSQL(m, pool, in(sql))
	p, err := plan.Parse([]byte(in(text)))
	if err != nil {
		m.Fatalf("%v\n%s", err, in(text))
	}
	m.r = openRepo(m, Config{URL: url, Plan: p, AllowUnindexed: false})
	m.fill(owner.columns, func(user string) string {
		name, host, _ := strings.Cut(user, "@")
		return in(owner.values(name, host))
	}, where.column != "", where.yes, where.no)
	return m
}

// fill inserts random messages within a minute, many of them at one time.
func (m *formModel) fill(ownerColumns string, owner func(user string) string, stored bool, yes, no string) {
	m.Helper()
	base := time.Date(2026, 3, 29, 1, 0, 0, 123_457_000, time.UTC).UnixMicro()
	taken := map[string]bool{}
	var b pgx.Batch
	for range 150 {
		user, conv := formUsers[m.rng.IntN(3)], fmt.Sprintf("c%d", m.rng.IntN(2))
		us := base + m.rng.Int64N(60_000_000)
		if m.rng.IntN(2) == 0 {
			us = base + 1_700_000*m.rng.Int64N(20)
		}
		f := formMessage{user: user, conversation: conv, pos: m.rng.Int64N(1000) + 1, sent: us, wanted: !stored || m.rng.IntN(4) > 0}
		var pos any = f.pos
		if m.pos.number != nil {
			f.pos, pos = m.pos.number(us), m.pos.value(us)
		} else if key := fmt.Sprint(user, conv, f.pos); taken[key] {
			continue
		} else {
			taken[key] = true
			f.sent = base + f.pos*60_000 // in the order of positions
			us = f.sent
		}
		columns, values, args := ownerColumns, owner(user), []any{conv, pos}
		names := ""
		for _, c := range strings.Split(columns, ", ") {
			names += strings.Fields(c)[0] + ", "
		}
		names, values = names+"conv, pos", values+", $1, $2"
		if m.time.typ != "" {
			names, values, args = names+", at", values+", $3", append(args, m.time.value(us))
		}
		grain := m.time.grain
		if m.time.typ == "" {
			grain = m.pos.grain
		}
		f.sent = us/max(1, grain)*max(1, grain) + grain // at the latest
		if stored {
			names += ", store"
			values += map[bool]string{true: ", " + yes, false: ", " + no}[f.wanted]
		}
		b.Queue(fmt.Sprintf("insert into %s.messages (%s) values (%s) returning id", m.schema, names, values), args...).QueryRow(func(row pgx.Row) error {
			err := row.Scan(&f.id)
			m.messages = append(m.messages, f)
			return err
		})
		if m.files && m.rng.IntN(2) == 0 {
			b.Queue(fmt.Sprintf("insert into %s.files select currval('%[1]s.messages_id_seq')", m.schema))
		}
	}
	if m.hasRow {
		for _, user := range formUsers {
			for _, conv := range []string{"c0", "c1"} {
				b.Queue(fmt.Sprintf("insert into %s.inbox values (%s, $1)", m.schema, owner(user)), conv)
			}
		}
	}
	if err := m.r.pool.SendBatch(m.Context(), &b).Close(); err != nil {
		m.Fatal(err)
	}
}

// formDeletion is a deletion and what the model says of it.
type formDeletion struct {
	purge.Deletion
	boundary int64
	deleted  int
	newer    int
}

// deletion makes a random one and notes what it removes.
func (m *formModel) deletion(command, user, conv string) *formDeletion {
	mine := func(f *formMessage) bool { return f.user == user && f.conversation == conv && f.wanted && !f.gone }
	near := m.messages[m.rng.IntN(len(m.messages))]
	for range 20 {
		if !mine(&near) {
			near = m.messages[m.rng.IntN(len(m.messages))]
		}
	}
	d := &formDeletion{Deletion: purge.Deletion{
		Key: purge.Key{App: "demo", Command: m.schema + command, User: user, Conversation: conv}, Token: tokens(), StoredAt: time.UnixMicro(near.sent + m.rng.Int64N(3) - 1),
	}}
	newest, sent := int64(math.MinInt64), int64(math.MinInt64)
	for i := range m.messages {
		if f := &m.messages[i]; mine(f) {
			newest = max(newest, f.pos)
			if f.sent <= d.StoredAt.UnixMicro() {
				sent = max(sent, f.pos)
			}
		}
	}
	if !m.timed || m.rng.IntN(2) == 0 {
		through := near.pos + m.rng.Int64N(3) - 1
		switch m.rng.IntN(4) {
		case 0:
			through = math.MaxInt64
		case 1:
			through = 0
		}
		d.ThroughSeq, sent = &through, min(through, newest)
	}
	if newest == math.MinInt64 || sent == math.MinInt64 {
		sent = 0
		if d.ThroughSeq != nil {
			sent = min(*d.ThroughSeq, 0)
		}
	}
	d.boundary = sent
	d.Digest = purge.DigestOf(purge.Content{User: user, Targets: []purge.Target{{Conversation: conv, ThroughSeq: d.ThroughSeq}}})
	for i := range m.messages {
		if f := &m.messages[i]; mine(f) && f.pos <= d.boundary {
			f.gone = true
			d.deleted++
		} else if mine(f) {
			d.newer++
		}
	}
	return d
}

func (m *formModel) run() {
	m.Helper()
	users := m.rng.Perm(3)
	first := m.deletion("1", formUsers[users[0]], "c0")
	m.want(first, carryOut(m, m.r, first.Deletion, 1+m.rng.IntN(6)))
	second, third := m.deletion("2", formUsers[users[1]], "c0"), m.deletion("3", formUsers[users[2]], "c0")
	res := bulk(m, m.r, purge.Batch{Deletions: []purge.Deletion{second.Deletion, third.Deletion}, SkipLocked: m.rng.IntN(2) == 0})
	m.want(second, res.Records[0])
	m.want(third, res.Records[1])
	alone := m.deletion("4", formUsers[users[1]], "c1")
	m.want(alone, bulk(m, m.r, purge.Batch{Deletions: []purge.Deletion{alone.Deletion}}).Records[0])
	m.left("workers")

	// What was sent before the deletion had finished, and not after.
	again := m.deletion("5", formUsers[users[0]], "c1")
	told := purge.Reported{Record: purge.Record{Key: again.Key, State: purge.Done, ThroughSeq: again.boundary, CompletedAt: again.StoredAt}}
	for i := range m.messages {
		if f := &m.messages[i]; f.gone && f.user == again.User && f.conversation == "c1" && m.timed && f.sent > told.CompletedAt.UnixMicro() {
			f.gone = false
			again.deleted--
		}
	}
	counted, err := m.r.Replayer().Count(m.Context(), told, math.MinInt64, 1000)
	if err != nil || counted.Messages != again.deleted {
		m.Errorf("a replay would delete %d messages, %v; want %d", counted.Messages, err, again.deleted)
	}
	if n := redo(m, m.r.Replayer(), told, 1+m.rng.IntN(6)); n != again.deleted {
		m.Errorf("a replay deletes %d messages; want %d", n, again.deleted)
	}
	m.left("a replay")
	if kept, err := m.r.Kept(m.Context(), first.Deletion); err != nil || kept.Any() {
		m.Errorf("kept = %+v, %v; want nothing", kept, err)
	}
	if _, err := m.r.Tables(m.Context(), first.Deletion); err != nil {
		m.Error(err)
	}
}

func (m *formModel) want(d *formDeletion, rec purge.Record) {
	m.Helper()
	if rec.State != purge.Done || rec.ThroughSeq != d.boundary || rec.MessagesDeleted != int64(d.deleted) || rec.ConversationRemoved != (!m.hasRow || d.newer == 0) {
		m.Errorf("record = %+v; want done through %d, %d messages, the conversation removed: %t", rec, d.boundary, d.deleted, !m.hasRow || d.newer == 0)
	}
	if m.unread && d.newer > 0 {
		got := queryOne[int](m.T, m.r.pool, fmt.Sprintf("select count(*) from %s.inbox where unread = $1", m.schema), min(9, d.newer))
		if got == 0 {
			m.Errorf("no row of the inbox has %d unread", min(9, d.newer))
		}
	}
}

// left compares what is in the tables with the model.
func (m *formModel) left(by string) {
	m.Helper()
	got := queryOne[[]int64](m.T, m.r.pool, fmt.Sprintf("select coalesce(array_agg(id order by id), '{}') from %s.messages", m.schema))
	want := []int64{}
	for _, f := range m.messages {
		if !f.gone {
			want = append(want, f.id)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		m.Errorf("%s leave other messages than they should (-want +got):\n%s", by, diff)
	}
}
