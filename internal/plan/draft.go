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

// ErrNoMessages says that no table looks like one of messages. What is returned also says why the nearest was passed over.
var ErrNoMessages = errors.New("no table looks like one of messages")

// DraftOptions are what an operator says about the tables. The zero value leaves all to the catalog.
type DraftOptions struct {
	// Schema is where to look; "" for all.
	Schema string
	// Messages is the table of messages, as a plan names it; "" where names and columns are to tell.
	Messages string
}

// Draft reads the catalog and writes a first plan as YAML: what names, types, keys and foreign
// keys tell, with comments where they don't. questions is how often open stands in
// it. The error is [ErrNoMessages], or of the options, or the catalog couldn't be read.
func Draft(ctx context.Context, q Querier, opts DraftOptions) (text string, questions int, err error) {
	names, err := tablesOf(ctx, q, opts.Schema)
	if err != nil {
		return "", 0, err
	}
	if len(names) == 0 && opts.Schema != "" {
		return "", 0, fmt.Errorf("there is no schema %s with a table that this role can see; name one in just the case that it has", quote(opts.Schema))
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
	d.nameAccounts()
	if opts.Messages != "" {
		if d.log, err = d.named(opts.Messages); err != nil {
			return "", 0, err
		}
	}
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
	owners  []string            // ownerWords here, with account where that may be a person
	apps    []string            // appWords here
	persons bool                // accounts send messages
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
	conversation, err := d.findLog()
	if err != nil {
		return err
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

// named is the table of this name, as a plan writes it, or without its schema where only one has it.
func (d *draft) named(table string) (*relation, error) {
	n, err := parseTable(table)
	if err != nil {
		return nil, fmt.Errorf("--messages is %q: expected a table: %w", table, err)
	}
	all := slices.DeleteFunc(slices.Clone(d.tables()), func(r *relation) bool { return r.name != n.name || n.schema != "" && r.schema != n.schema })
	switch len(all) {
	case 0:
		return nil, fmt.Errorf("there is no table %s that this role can see; name it in just the case that it has", table)
	case 1:
		return all[0], nil
	}
	return nil, fmt.Errorf("there are %s: name one of them", strings.Join(mapped(all, planTable), " and "))
}

// findLog chooses the table of messages, unless it is named, and returns its column of the conversation.
func (d *draft) findLog() (conversation string, err error) {
	if d.log != nil {
		d.leaveOut(d.sample())
		if conversation, d.member = d.conversationOf(d.log); conversation == "" {
			return "", fmt.Errorf("%s has no %s; %s", planTable(d.log), needsConversation, byHand)
		}
		return conversation, nil
	}
	all := d.passSampleOver(d.candidates())
	if len(all) == 0 {
		return "", d.noLog()
	}
	best := slices.MaxFunc(all, func(a, b candidate) int { return a.score - b.score }) // the first of several
	d.log, d.member = best.log, best.member
	for _, c := range all {
		if c.log != best.log {
			d.head = append(d.head, planTable(c.log)+" looks like messages, too, and is not in this plan, unless as a child: a plan is about one table of messages.")
		}
	}
	return best.conversation, nil
}

// candidate is a table that looks like one of messages.
type candidate struct {
	score        int
	log, member  *relation
	conversation string
}

func (d *draft) candidates() (all []candidate) {
	for _, r := range d.tables() {
		c := candidate{log: r}
		c.conversation, c.member = d.conversationOf(r)
		c.score = d.messagesScore(r, c.conversation)
		if c.conversation != "" && c.score >= 5 {
			all = append(all, c)
		}
	}
	return all
}

// passSampleOver leaves the sample out where another table looks like messages.
func (d *draft) passSampleOver(all []candidate) []candidate {
	sample := d.sample()
	own := slices.DeleteFunc(slices.Clone(all), func(c candidate) bool { return slices.Contains(sample, c.log) })
	if len(own) == len(all) || len(sample) == len(d.tables()) {
		return all
	}
	what := planTable(sample[0]) + " is taken for the sample that worker setup --sample-schema makes"
	if len(own) == 0 {
		d.head = append(d.head, what+". No other table looks like messages: --messages TABLE names one.")
		return all
	}
	d.head = append(d.head, what+", and is passed over: --messages "+planTable(sample[0])+" drafts it.")
	d.leaveOut(sample)
	return own
}

// leaveOut takes tables out of the catalog, unless one of them has the messages.
func (d *draft) leaveOut(tables []*relation) {
	if !slices.Contains(tables, d.log) {
		d.all = slices.DeleteFunc(d.tables(), func(r *relation) bool { return slices.Contains(tables, r) })
	}
}

// sampleColumns are those of the sample's messages.
var sampleColumns = []string{"app_id", "body", "conversation_id", "sender_id", "sent_at", "seq", "user_id"}

// sample are the tables that worker setup --sample-schema makes, the messages first; nil where they aren't there. A table of
// their name with other columns is the app's own.
func (d *draft) sample() (all []*relation) {
	named := func(table string) *relation { return d.relationOf("chat." + table) }
	if log := named("messages"); log == nil || !slices.Equal(log.columnNames(), sampleColumns) {
		return nil
	}
	for _, table := range []string{"messages", "conversations", "reactions", "attachments", "counters"} {
		if r := named(table); r != nil {
			all = append(all, r)
		}
	}
	return all
}

const (
	byHand            = "write the plan by hand: docs/plan.md, examples/plans"
	needsConversation = "column of the conversation, such as conversation_id, room_id or peer"
)

// noLog is [ErrNoMessages], with why the table was passed over that looks most like one of messages.
func (d *draft) noLog() error {
	var nearest candidate
	for _, r := range d.tables() {
		c := candidate{log: r}
		c.conversation, _ = d.conversationOf(r)
		if c.score = d.messagesScore(r, c.conversation); c.score > nearest.score {
			nearest = c
		}
	}
	if nearest.log == nil {
		return fmt.Errorf("%w; name it with --messages, or %s", ErrNoMessages, byHand)
	}
	r := nearest.log
	var why []string
	if beside := wordIn(r.name, besideWords); beside != "" {
		why = append(why, fmt.Sprintf("%q in its name, as tables beside the messages do", beside))
	}
	for _, part := range []struct {
		there bool
		name  string
	}{
		{nearest.conversation != "", needsConversation},
		{bodyOf(r), "column of the text, such as body or content"},
		{len(d.ownersOf(r)) > 0, "column of the owner, such as owner_id or username"},
		{has(r.name, messageWords), "name like messages"},
	} {
		if !part.there {
			why = append(why, "no "+part.name)
		}
	}
	if len(why) > 2 { // a text alone, say, is in many tables
		return fmt.Errorf("%w; name it with --messages, or %s", ErrNoMessages, byHand)
	}
	otherwise := byHand
	if nearest.conversation != "" {
		otherwise = "name it, --messages " + planTable(r) + ", or " + byHand
	}
	return fmt.Errorf("%w; %s has %s; if it has the messages nevertheless, %s", ErrNoMessages, planTable(r), strings.Join(why, ", "), otherwise)
}

// bodyOf reports whether a column has the text.
func bodyOf(r *relation) bool {
	return slices.ContainsFunc(r.columnNames(), func(c string) bool {
		return (rank(bodyWords, bare(c)) > 0 || strings.HasSuffix(bare(c), "json")) && !isInteger(r.columns[c])
	})
}

// conversationOf is the column of the conversation; "" for none. Where that refers to a row of a member, member is its table.
func (d *draft) conversationOf(r *relation) (column string, member *relation) {
	if column := conversationOf(r); column != "" {
		return column, nil
	}
	return d.memberOf(r)
}

// memberOf is the table of members to whose rows the table refers, and the column by which it does.
func (d *draft) memberOf(r *relation) (column string, table *relation) {
	for _, f := range d.cat.keys {
		if f.from != r || f.to == nil || f.to == r || len(f.columns) != 1 || f.refs[0] != keyOf(f.to) {
			continue
		}
		if c := conversationOf(f.to); c != "" && len(d.ownersOf(f.to)) > 0 && f.to.unique(d.ownersOf(f.to)[0], c) {
			return f.columns[0], f.to
		}
	}
	return "", nil
}

// messagesScore is how much a table looks like one of messages.
func (d *draft) messagesScore(r *relation, conversation string) (n int) {
	for _, owner := range d.ownersOf(r) {
		apps := slices.DeleteFunc(r.columnNames(), func(c string) bool { return rank(d.apps, stem(c)) == 0 })
		if r.unique(append(apps, owner, conversation)...) {
			return 0 // one row for each conversation
		}
	}
	if has(r.name, messageWords) {
		n = 3
	}
	if endsWith(r.name, messageWords) {
		n += 2
	}
	if has(r.name, besideWords) {
		n -= 5
	}
	if bodyOf(r) {
		n += 2
	}
	if slices.ContainsFunc(d.ownersOf(r), func(c string) bool { return together(r, c, conversation) }) {
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
		n := rank(d.apps, stem(c.name))
		sure := rank(d.apps, stem(c.name)) > len(d.apps)-3
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
