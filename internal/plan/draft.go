package plan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// open stands in a draft where its reader must answer a question. No check lets it pass.
const open = "TODO"

// ErrNoMessages says that no table looks like one of messages. What is returned also says what a table lacks that has something of one.
var ErrNoMessages = errors.New("no table looks like one of messages")

// Draft reads the catalog and writes a first plan as YAML: what names, types, keys and foreign
// keys tell, with comments where they don't. questions is how often open stands in
// it. schema is where to look, "" for all. The error is [ErrNoMessages], or the catalog couldn't be read.
func Draft(ctx context.Context, q Querier, schema string) (text string, questions int, err error) {
	names, err := tablesOf(ctx, q, schema)
	if err != nil {
		return "", 0, err
	}
	if len(names) == 0 && schema != "" {
		return "", 0, fmt.Errorf("there is no schema %s with a table that this role can see; name one in just the case that it has", quote(schema))
	}
	cat, err := readCatalog(ctx, q, names)
	if err != nil {
		return "", 0, err
	}
	numbers, err := readNumbers(ctx, q, cat)
	if err != nil {
		return "", 0, err
	}
	d := &draft{cat: cat, numbers: numbers, notes: map[string][]string{}, maybe: map[string][]string{}, used: map[*relation]bool{}}
	if err := d.make(); err != nil {
		return "", 0, err
	}
	text, questions = d.text()
	return text, questions, nil
}

func tablesOf(ctx context.Context, q Querier, schema string) ([]tableName, error) {
	rows, err := q.Query(ctx, (&catalog{}).query("draft_tables"), schema)
	if err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (n tableName, err error) {
		return n, row.Scan(&n.schema, &n.name)
	})
}

func readNumbers(ctx context.Context, q Querier, cat *catalog) (map[*relation]map[string]int64, error) {
	byOID, out := cat.byOID(), map[*relation]map[string]int64{}
	rows, err := q.Query(ctx, cat.query("draft_numbers"), slices.Collect(maps.Keys(byOID)))
	if err != nil {
		return nil, fmt.Errorf("statistics: %w", err)
	}
	var oid uint32
	var name string
	var value *int64
	_, err = pgx.ForEachRow(rows, []any{&oid, &name, &value}, func() error {
		if value == nil {
			return nil
		}
		if out[byOID[oid]] == nil {
			out[byOID[oid]] = map[string]int64{}
		}
		out[byOID[oid]][name] = *value
		return nil
	})
	return out, err
}

// draft is a plan in the making. It is made from the catalog alone.
type draft struct {
	cat     *catalog
	numbers map[*relation]map[string]int64 // values of columns that may be times
	plan    Plan
	head    []string            // comments at the top
	notes   map[string][]string // comments above a field or an entry, by its path
	maybe   map[string][]string // entries that a list may need, commented out, by the list's path
	used    map[*relation]bool  // in the plan, or known not to be a child
	all     []*relation         // in the order of their names
	log     *relation           // has the conversation, the position and the text
	owned   *relation           // has the owner: log, or what points to it; nil where nothing does
	none    string              // what stands for the members where no table says who they are
	member  *relation           // has user and conversation, where the log refers to it instead
}

// tables are all tables in the order of their names.
func (d *draft) tables() []*relation {
	if d.all == nil {
		d.all = slices.SortedFunc(maps.Values(d.cat.byOID()), func(a, b *relation) int { return cmp.Compare(a.String(), b.String()) })
	}
	return d.all
}

// note puts a comment above the path.
func (d *draft) note(path, format string, args ...any) {
	d.notes[path] = append(d.notes[path], fmt.Sprintf(format, args...))
}

// make fills the plan.
func (d *draft) make() error {
	conversation := d.findLog()
	if d.log == nil {
		return d.noLog()
	}
	d.used[d.log] = true
	user := d.findOwner(conversation)
	app := d.appOf(d.log, conversation, user)
	if d.plan.Members != nil && d.plan.Members.App == "" {
		app = ""
	}
	if app == "" {
		d.plan.Tenant = "demo"
		d.note("tenant", "The app_id of all commands: put yours here.")
	} else {
		d.note("messages", "%s is taken for what commands call app_id. If all rows are of one app, write tenant instead, and where: {%[1]s: …}.", app)
	}
	log := Entry{Table: planTable(d.log), Columns: Columns{App: app, Conversation: conversation}}
	equal := slices.DeleteFunc([]string{app, user, conversation}, func(c string) bool { return c == "" })
	path := "messages"
	if d.owned != nil && d.owned != d.log {
		path = "messages.parents[0]"
		equal = slices.DeleteFunc(equal, func(c string) bool { return c == user })
	}
	d.discriminate(path, d.log, equal, &log)
	d.order(path, d.log, equal, &log)
	if path == "messages" {
		log.User = user
		if user == "" && !d.plan.Shared() {
			d.byConversation(&log)
		}
		d.plan.Messages = log
		d.lookup(path, d.log, &d.plan.Messages)
		d.children("children", d.log, &d.plan.Children)
		d.parents("messages.parents", d.log)
	} else {
		d.pointers(user, log)
	}
	if d.plan.Shared() {
		d.sharedConversations(conversation)
	} else {
		d.conversations(user, conversation)
	}
	below := "children"
	if path != "messages" {
		below = path + ".children"
	}
	d.polymorphic(below, d.log)
	return nil
}

// findLog chooses the table of messages, and returns its column of the conversation.
func (d *draft) findLog() (conversation string) {
	best := 0
	var others []string
	for _, r := range d.tables() {
		column, member := conversationOf(r), (*relation)(nil)
		if column == "" {
			column, member = d.memberOf(r)
		}
		n := messagesScore(r, column)
		if column == "" || n < 5 {
			continue
		}
		if n > best {
			if d.log != nil {
				others = append(others, planTable(d.log))
			}
			best, d.log, conversation, d.member = n, r, column, member
		} else {
			others = append(others, planTable(r))
		}
	}
	for _, o := range others {
		d.head = append(d.head, o+" looks like messages, too, and is not in this plan, unless as a child: a plan is about one table of messages.")
	}
	return conversation
}

// noLog is [ErrNoMessages], with what a table lacks that has something of one.
func (d *draft) noLog() error {
	const byHand = "write the plan by hand: docs/plan.md, examples/plans"
	var nearest *relation
	most := 0
	for _, r := range d.tables() {
		if n := messagesScore(r, conversationOf(r)); n > most {
			most, nearest = n, r
		}
	}
	if nearest == nil {
		return fmt.Errorf("%w; %s", ErrNoMessages, byHand)
	}
	var lacks []string
	for _, part := range []struct {
		there bool
		name  string
	}{
		{conversationOf(nearest) != "", "column of the conversation, such as conversation_id, room_id or peer"},
		{bodyOf(nearest), "column of the text, such as body or content"},
		{len(ownersOf(nearest)) > 0, "column of the owner, such as owner_id or username"},
		{slices.ContainsFunc(messageWords, func(w string) bool { return strings.Contains(bare(nearest.name), w) }), "name like messages"},
	} {
		if !part.there {
			lacks = append(lacks, "no "+part.name)
		}
	}
	if len(lacks) > 2 { // a text alone, say, is in many tables
		return fmt.Errorf("%w; %s", ErrNoMessages, byHand)
	}
	return fmt.Errorf("%w; %s has %s; if it has the messages nevertheless, %s", ErrNoMessages, planTable(nearest), or(strings.Join(lacks, ", "), "no index of owner and conversation"), byHand)
}

// bodyOf reports whether a column has the text.
func bodyOf(r *relation) bool {
	return slices.ContainsFunc(r.columnNames(), func(c string) bool {
		return (rank(bodyWords, bare(c)) > 0 || strings.HasSuffix(bare(c), "json")) && !isInteger(r.columns[c])
	})
}

// memberOf is the table of members to whose rows the table refers, and the column by which it does.
func (d *draft) memberOf(r *relation) (column string, table *relation) {
	for _, f := range d.cat.keys {
		if f.from != r || f.to == nil || f.to == r || len(f.columns) != 1 || f.refs[0] != keyOf(f.to) {
			continue
		}
		if c := conversationOf(f.to); c != "" && len(ownersOf(f.to)) > 0 && f.to.unique(ownersOf(f.to)[0], c) {
			return f.columns[0], f.to
		}
	}
	return "", nil
}

// messagesScore is how much a table looks like one of messages.
func messagesScore(r *relation, conversation string) (n int) {
	name := bare(r.name)
	for _, owner := range ownersOf(r) {
		apps := slices.DeleteFunc(r.columnNames(), func(c string) bool { return rank(appWords, stem(c)) == 0 })
		if r.unique(append(apps, owner, conversation)...) {
			return 0 // one row for each conversation
		}
	}
	for _, w := range messageWords {
		if strings.Contains(name, w) {
			n = 3
			if strings.TrimSuffix(name, "s") == w || strings.HasSuffix(strings.TrimSuffix(name, "s"), w) {
				n += 2
			}
			break
		}
	}
	if has(r.name, besideWords) {
		n -= 5
	}
	if bodyOf(r) {
		n += 2
	}
	if slices.ContainsFunc(ownersOf(r), func(c string) bool { return together(r, c, conversation) }) {
		n += 2
	}
	if conversation != "" {
		n += 2
	}
	return n
}

// conversationOf is the column that most likely has the conversation's id.
func conversationOf(r *relation) string {
	return best(r, func(c column) int {
		name := stem(c.name)
		n := 2 * rankEnd(conversationWords, name)
		if n == 0 || !isID(c) || rank(senderWords, name) > 0 || r.unique(c.name) {
			return 0
		}
		if name == "with" && !isText(c) {
			return 0
		}
		if c.notNull {
			n += 4
		}
		if slices.ContainsFunc(r.indexes, func(i index) bool { return len(i.columns) > 1 && slices.Contains(i.columns, c.name) }) {
			n += 6
		} else if r.indexed([]string{c.name}, nil, "") {
			n += 2
		}
		return n
	})
}

// best is the column of the highest score above 0; of two the first by name.
func best(r *relation, score func(column) int) (name string) {
	most := 0
	for _, c := range r.columnNames() {
		if n := score(r.columns[c]); n > most {
			most, name = n, c
		}
	}
	return name
}

// appOf is the column of the app, "" for none.
func (d *draft) appOf(r *relation, conversation, user string) string {
	return best(r, func(c column) int {
		n := rank(appWords, stem(c.name))
		sure := rank(appWords, stem(c.name)) > len(appWords)-3
		if n == 0 || !isID(c) || c.name == conversation || c.name == user || !c.notNull || !sure && !together(r, c.name, conversation) && !together(r, c.name, user) {
			return 0
		}
		return n
	})
}

// discriminate asks for a condition where each index has a column that tells kinds of
// rows apart, by its name or as an enum or a boolean: rows of other kinds have the same keys.
func (d *draft) discriminate(path string, r *relation, equal []string, e *Entry) {
	for _, c := range r.columnNames() {
		col := r.columns[c]
		named := slices.Contains(distinguishes, bare(c)) && isText(col)
		if slices.Contains(equal, c) || !col.notNull {
			continue
		}
		all, with := 0, 0
		for _, i := range r.indexes {
			if slices.ContainsFunc(equal, func(e string) bool { return slices.Contains(i.columns, e) }) {
				all++
				if slices.Contains(i.columns, c) && (named || r.fewValues(i, c, equal)) {
					with++
				}
			}
		}
		if all == 0 || with < all {
			continue
		}
		e.Where = append(e.Where, Pair{c, Value{Name, open}})
		d.note(path+".where", "Rows with other values of %s stay. Which one do messages have? (select distinct %[1]s from %s)", quote(c), r)
	}
}
