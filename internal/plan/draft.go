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
	"github.com/jackc/pgx/v5/pgtype"
)

// open stands in a draft where its reader must answer a question. No check lets it pass.
const open = "TODO"

// ErrNoMessages says that no table looks like one of messages.
var ErrNoMessages = errors.New("no table looks like one of messages: expected a column of the conversation, such as conversation_id, room_id or peer, and one of the text")

// Draft reads the catalog and writes a first plan as YAML: what names, types, keys and foreign
// keys tell, with comments where they don't. questions is how often open stands in
// it. schema is where to look, "" for all. The error is [ErrNoMessages], or the catalog couldn't be read.
func Draft(ctx context.Context, q Querier, schema string) (text string, questions int, err error) {
	names, err := tablesOf(ctx, q, schema)
	if err != nil {
		return "", 0, err
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
	text = d.text()
	return text, strings.Count(text, open) - 1, nil // the first line names it
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
		return ErrNoMessages
	}
	d.used[d.log] = true
	user := d.findOwner(conversation)
	app := d.appOf(d.log, conversation, user)
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
		if user == "" {
			d.byConversation(&log)
		}
		d.plan.Messages = log
		d.lookup(path, d.log, &d.plan.Messages)
		d.children("children", d.log, &d.plan.Children)
		d.parents("messages.parents", d.log)
	} else {
		d.pointers(user, log)
	}
	d.conversations(user, conversation)
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
	for c, col := range r.columns {
		if rank(bodyWords, bare(c)) > 0 && !isInteger(col) {
			n += 2
			break
		}
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

// ownersOf are the columns that may have the owner, the most likely first.
func ownersOf(r *relation) []string {
	var all []string
	for _, c := range r.columnNames() {
		if rank(ownerWords, stem(c)) > 0 && isID(r.columns[c]) {
			all = append(all, c)
		}
	}
	slices.SortStableFunc(all, func(a, b string) int { return rank(ownerWords, stem(b)) - rank(ownerWords, stem(a)) })
	return all
}

func sendersOf(r *relation) []string {
	return slices.DeleteFunc(r.columnNames(), func(c string) bool { return rank(senderWords, stem(c)) == 0 || !isID(r.columns[c]) })
}

// together reports whether one index has both columns, as it has where rows are found by both.
func together(r *relation, a, b string) bool {
	return slices.ContainsFunc(r.indexes, func(i index) bool { return slices.Contains(i.columns, a) && slices.Contains(i.columns, b) })
}

// findOwner finds the column that tells whose copy a row is, in the log or in what points
// to it. "TODO" where nothing does, or it may be the sender; "" where the conversation's row does.
func (d *draft) findOwner(conversation string) string {
	if d.member != nil {
		d.owned = d.log
		return ""
	}
	owners, senders := ownersOf(d.log), sendersOf(d.log)
	members, table := d.membersOf(d.log, conversation), d.tableOf(conversation)
	for _, c := range owners {
		named := rank(ownerWords, stem(c)) > len(ownerWords)-3
		sent := len(senders) == 0 && (members != nil || table != nil) // somebody must have sent what others read
		if named || together(d.log, c, conversation) && !sent {
			d.owned = d.log
			if len(senders) > 0 {
				d.note("messages.user", "The owner of the copy; %s is who sent it.", list(senders))
			}
			return c
		}
	}
	if table, user := d.findPointers(); table != nil {
		d.owned = table
		return user
	}
	if table != nil && members == nil && len(owners) == 0 && len(ownersOf(table)) > 0 {
		d.owned = d.log
		return ""
	}
	switch {
	case len(owners) > 0 && (members == nil || len(senders) > 0 || together(d.log, owners[0], conversation)):
		d.note("messages.user", "Whose copy is a row? If %s is the owner of the copy, put it here.", list(owners))
		d.note("messages.user", "If it is the sender, the table is a log that members share: one member's deletion would remove what others still read. A plan of copies can't serve that.")
	case members != nil:
		d.shared(append(owners, senders...), planTable(members)+" says who its members are")
	default:
		d.shared(senders, "no column says whose copy a row is")
	}
	return open
}

// tableOf is the table to whose rows the messages' column refers; nil for none.
func (d *draft) tableOf(column string) *relation {
	for _, r := range d.tables() {
		if slices.ContainsFunc(d.referencesTo(d.log, r), func(j joint) bool { return slices.Equal(j.Column, []string{column}) }) {
			return r
		}
	}
	return nil
}

// byConversation finds the messages by way of a row of another table, that of the conversation or of its member, which has
// the owner.
func (d *draft) byConversation(e *Entry) {
	table, key := d.member, ""
	if table == nil {
		table = d.tableOf(e.Conversation)
		key = keyOf(table)
	} else {
		key = conversationOf(table)
	}
	user := ownersOf(table)[0]
	id := ID{Name: singular(table.name), Lookup: &Lookup{Table: planTable(table), Where: []Pair{{key, Value{Name, "conversation"}}, {user, Value{Name, "user"}}}, Column: keyOf(table)}}
	if app := d.appOf(table, key, user); app != "" {
		d.plan.Tenant = ""
		id.Lookup.Where = append(id.Lookup.Where, Pair{app, Value{Name, "app"}})
	}
	d.plan.IDs = []ID{id}
	d.note("ids", "A message is the user's whom %s of %s names. If others read it, too, don't use this draft: their messages would go.", quote(user), planTable(table))
	e.Where = append([]Pair{{e.Conversation, Value{Name, id.Name}}}, e.Where...)
	e.Conversation = ""
}

// shared says that the messages are one log for all members.
func (d *draft) shared(senders []string, why string) {
	d.head = append(d.head,
		fmt.Sprintf("%s looks like a log that the members of a conversation share: %s.", planTable(d.log), why),
		"A plan of copies would remove what other members still read, and this version serves nothing else: don't use this draft, unless there is a column with the owner of each copy.")
	if len(senders) > 0 {
		d.note("messages.user", "Not %s, which is most likely who sent the message.", list(senders))
	}
	d.note("messages.user", "The column that says whose copy a row is.")
}

// membersOf is the table that has a row for each member of a conversation; nil for none.
func (d *draft) membersOf(log *relation, conversation string) *relation {
	for _, r := range d.tables() {
		if r == log || has(r.name, besideWords) && !has(r.name, memberWords) {
			continue
		}
		for _, user := range ownersOf(r) {
			for _, c := range r.columnNames() {
				if c != user && stem(c) == stem(conversation) && r.unique(user, c) && messagesScore(r, c) < 5 {
					return r
				}
			}
		}
	}
	return nil
}

// findPointers finds the table that has a row for each user who has a message, and its column
// of the user.
func (d *draft) findPointers() (*relation, string) {
	for _, r := range d.tables() {
		if r == d.log || !has(r.name, pointerWords) {
			continue
		}
		for _, ref := range d.referencesTo(r, d.log) {
			for _, user := range ownersOf(r) {
				if len(ref.Column) == 1 && ref.Column[0] != user && r.unique(user, ref.Column[0]) {
					return r, user
				}
			}
		}
	}
	return nil, ""
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

// discriminate asks for a condition where each index begins with a column that tells kinds of
// rows apart: rows of other kinds have the same keys.
func (d *draft) discriminate(path string, r *relation, equal []string, e *Entry) {
	for _, c := range r.columnNames() {
		col := r.columns[c]
		if slices.Contains(equal, c) || !slices.Contains(distinguishes, bare(c)) || !isText(col) || !col.notNull {
			continue
		}
		all, with := 0, 0
		for _, i := range r.indexes {
			if slices.ContainsFunc(equal, func(e string) bool { return slices.Contains(i.columns, e) }) {
				all++
				if slices.Contains(i.columns, c) {
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

// order chooses the position and the time.
func (d *draft) order(path string, r *relation, equal []string, e *Entry) {
	for _, w := range e.Where {
		equal = append(equal, w.Column)
	}
	position := best(r, func(c column) int { return d.positionScore(r, c, equal) })
	sent := best(r, func(c column) int { return d.timeScore(r, c, equal) })
	switch {
	case position != "":
		e.Seq = d.reading(path+".seq", r, position)
	default:
		e.Seq = Reading{Column: open}
		d.note(path+".seq", "No column gives the messages an order: a number that grows, or a time.")
	}
	if isTime(r.columns[position]) || e.Seq.Unit != "" {
		d.note(path+".seq", "The position is a time: through_seq is microseconds since 1970.")
		return
	}
	if c := r.columns[sent]; sent != "" && !c.notNull && c.preset == "" {
		d.note(path+".seq", "%s may be null, and so can't tell when a message was sent: every command must have through_seq. To use it: "+
			"alter table %s alter column %[1]s set not null, and here sent_at: %[3]s.", quote(sent), r, sent)
		return
	}
	if sent == "" {
		d.note(path+".seq", "No column tells when a message was sent: every command must have through_seq. If the position holds a time, say how: "+
			"sent_at: {column: %s, unit: us, shift: 8} is MongooseIM's.", position)
		return
	}
	e.SentAt = d.reading(path+".sent_at", r, sent)
	var others []string
	for _, c := range r.columnNames() {
		if c != sent && c != position && d.timeScore(r, r.columns[c], equal) > 0 {
			others = append(others, c)
		}
	}
	if len(others) > 0 {
		d.note(path+".sent_at", "When the message was stored; other times: %s.", list(others))
	}
}

// reading is how a column's time is read, with a question where its unit isn't known.
func (d *draft) reading(path string, r *relation, name string) Reading {
	out := Reading{Column: name}
	if c := r.columns[name]; !isInteger(c) || d.timeName(c) == 0 {
		return out
	}
	out.Unit = d.unitOf(r, name)
	if out.Unit == "" {
		out.Unit = open
		d.note(path, "The unit is s, ms, us or ns: see how many digits a value has, 10, 13, 16 or 19 (select %s from %s limit 1).", quote(name), r)
	}
	return out
}

// unitOf is the unit of a number that is a time; "" where that isn't known.
func (d *draft) unitOf(r *relation, name string) string {
	if m := unitSuffix.FindStringSubmatch(name); m != nil {
		return unitOfSuffix[strings.ToLower(m[1])]
	}
	if r.columns[name].typ == pgtype.Int4OID {
		return "s" // nothing finer has fitted since 1970
	}
	for unit, second := range map[string]int64{"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9} {
		if v := d.numbers[r][name]; v/second >= 1e9 && v/second < 4e9 { // 2001 to 2096
			return unit
		}
	}
	return ""
}

// timeName is how much a column's name is that of the time at which a message was sent.
func (d *draft) timeName(c column) int {
	return rank(timeWords, bare(unitSuffix.ReplaceAllString(c.name, "")))
}

func (d *draft) timeScore(r *relation, c column, equal []string) int {
	n := d.timeName(c)
	if n == 0 || !isTime(c) && c.typ != pgtype.Int8OID && c.typ != pgtype.Int4OID {
		return 0
	}
	if c.typ == pgtype.TimestamptzOID {
		n += 6
	}
	if isInteger(c) && d.unitOf(r, c.name) == "" {
		n -= 4
	}
	if c.notNull {
		n += 4
	}
	if slices.ContainsFunc(equal, func(e string) bool { return together(r, c.name, e) }) {
		n += 10
	}
	return max(n, 1)
}

func (d *draft) positionScore(r *relation, c column, equal []string) (n int) {
	number := rank(positionWords, bare(c.name))
	switch {
	case slices.Contains(equal, c.name):
		return 0
	case isInteger(c) && number > 0 && d.timeName(c) == 0:
		n = 30 + number
		if strings.HasPrefix(c.preset, "nextval(") || r.unique(c.name) {
			n += 15
		}
	case isTime(c) || isInteger(c):
		if n = d.timeScore(r, c, nil); n == 0 || isInteger(c) && d.unitOf(r, c.name) == "" {
			return min(n, 1)
		}
	default:
		return 0
	}
	if r.indexed(equal, nil, c.name) {
		n += 60
	}
	if c.notNull {
		n += 20
	}
	return n
}
