package plan

import (
	"fmt"
	"slices"
	"strings"
)

// joint is a reference from one table to another, and its foreign key, if it has one.
type joint struct {
	Reference
	key *foreignKey
}

// referencesTo are the references from a table to another: foreign keys, and columns
// whose names say so.
func (d *draft) referencesTo(from, to *relation) []joint {
	var all []joint
	known := map[string]bool{}
	for _, f := range d.cat.keys {
		if f.from == from && f.to == to && from != to {
			all = append(all, joint{Reference{Column: f.columns, To: f.refs}, &f})
			for _, c := range f.columns {
				known[c] = true
			}
		}
	}
	key := keyOf(to)
	if key == "" || from == to {
		return all
	}
	for _, c := range from.columnNames() {
		if !known[c] && joinable(from.columns[c], to.columns[key]) && slices.ContainsFunc(d.stems(to), func(s string) bool { return bare(c) == s+bare(key) || bare(c) == s+"id" }) {
			all = append(all, joint{Reference{Column: []string{c}, To: []string{key}}, nil})
		}
	}
	return all
}

// keyOf is the column by which others refer to a row; "" for none.
func keyOf(r *relation) string {
	if r.unique("id") {
		return "id"
	}
	return best(r, func(c column) int {
		if !c.notNull || !isID(c) || !r.unique(c.name) {
			return 0
		}
		return 1
	})
}

// stems are what columns that refer to the table begin with: chatmessage and message for chat_messages.
func (d *draft) stems(r *relation) []string {
	out := []string{singular(r.name)}
	if all := words(r.name); len(all) > 1 {
		out = append(out, singular(all[len(all)-1]))
	}
	for _, w := range messageWords {
		if r == d.log && has(r.name, []string{w}) {
			out = append(out, w)
		}
	}
	return out
}

// children adds the tables whose rows belong to a table's, and those below them.
func (d *draft) children(path string, to *relation, list *[]Entry) {
	var added []*relation
	for _, r := range d.tables() {
		if d.used[r] {
			continue
		}
		before := len(*list)
		if e, ok := d.rangeChild(r, path); ok {
			*list = append(*list, e)
		} else {
			for _, j := range d.referencesTo(r, to) {
				*list = append(*list, d.child(nth(path, len(*list)), r, j))
			}
		}
		if len(*list) > before {
			d.used[r] = true
		}
		for range len(*list) - before {
			added = append(added, r)
		}
	}
	for i := range *list {
		e, r, at := &(*list)[i], added[i], nth(path, i)
		if len(e.Set) > 0 || slices.Contains(added[:i], r) {
			continue
		}
		d.children(at+".children", r, &e.Children)
		d.parents(at+".parents", r)
		if has(r.name, fileWords) {
			d.polymorphic(at+".children", r)
		}
	}
}

// rangeChild is an entry by the messages' own columns, where the table has all of them.
func (d *draft) rangeChild(r *relation, path string) (Entry, bool) {
	m := d.plan.Messages
	if path != "children" || m.Seq.Unit != "" || len(m.Where) > 0 || m.User == "" || m.Conversation == "" || isTime(d.log.columns[m.Seq.Column]) {
		return Entry{}, false
	}
	for _, c := range []string{m.App, m.User, m.Conversation} {
		if _, there := r.columns[c]; c != "" && (!there || c == "id") {
			return Entry{}, false
		}
	}
	seq := m.Seq
	if _, there := r.columns[seq.Column]; !there || seq.Column == "id" {
		if seq.Column = d.positionIn(r); seq.Column == "" {
			return Entry{}, false
		}
		d.note(nth(path, len(d.plan.Children)), "By the names of its columns; no foreign key says so.")
	}
	return Entry{Table: planTable(r), Columns: m.Columns, Seq: seq}, true
}

// positionIn is a column that has the messages' position by the name of a reference, where the position alone is no key.
func (d *draft) positionIn(r *relation) string {
	m := d.plan.Messages
	if d.log.unique(m.Seq.Column) || r.unique(m.User, m.Conversation) || slices.ContainsFunc(d.cat.keys, func(f foreignKey) bool { return f.from == r && f.to == d.log }) {
		return ""
	}
	return best(r, func(c column) int {
		if isInteger(c) && c.notNull {
			return rank(messageNames(d.log), bare(c.name))
		}
		return 0
	})
}

// child is an entry by a reference.
func (d *draft) child(path string, r *relation, j joint) Entry {
	e := Entry{Table: planTable(r), References: &j.Reference}
	if j.key == nil {
		d.note(path, "By the name of %s; no foreign key says so.", list(j.Column))
	} else if j.key.onDelete == "n" {
		for _, c := range j.key.sets {
			if !r.columns[c].notNull && slices.Contains(j.Column, c) {
				e.Set = append(e.Set, Pair{c, Value{Kind: Null}})
			}
		}
		d.note(path, "The row stays without its message, as on delete set null says. Take set out if it should go.")
	} else if c := j.key.loses(); j.key.blocks() && c != "" {
		e.Set = append(e.Set, Pair{c, Value{Kind: Null}})
		d.note(path, "The row stays without what it refers to, as %s may be null. Take set out if each row is a part of that, and should go.", c)
	}
	if has(r.name, keepWords) && strings.HasPrefix(path, "messages.parents") {
		d.note(path, "If %s should keep the message, move it to kept_by.", planTable(r))
	}
	return e
}

// parents suggests the tables of files to which the table refers.
func (d *draft) parents(path string, r *relation) {
	for _, f := range d.cat.keys {
		if f.from == r && f.to != nil && !d.used[f.to] && has(f.to.name, fileWords) {
			d.maybe[path] = append(d.maybe[path], fmt.Sprintf("- %s   # if it should go with the last row that refers to it",
				flow(Entry{Table: planTable(f.to), References: &Reference{Column: f.columns, To: f.refs}})))
		}
	}
}

// polymorphic suggests tables whose rows belong to rows of several tables: by a type and an id, as
// Rails has it, or by a content type, as Django has it.
func (d *draft) polymorphic(path string, to *relation) {
	key := keyOf(to)
	if key == "" {
		return
	}
	suggest := func(r *relation, where Pair, id, comment string) {
		e := Entry{Table: planTable(r), Where: []Pair{where}, References: &Reference{Column: []string{id}, To: []string{key}}}
		d.maybe[path] = append(d.maybe[path], "- "+flow(e)+"   # "+comment)
	}
	for _, r := range d.tables() {
		if r == to || r == d.log || has(r.name, []string{"conversation", "channel", "room"}) {
			continue
		}
		for _, c := range r.columnNames() {
			prefix, ok := strings.CutSuffix(bare(c), "type")
			id := columnNamed(r, prefix+"id")
			if ok && id != "" && !r.unique(id) && isText(r.columns[c]) && rank(senderWords, prefix) == 0 {
				suggest(r, Pair{c, Value{Text, class(to.name)}}, id, "if there are rows with this "+c)
			}
		}
		content, object := columnNamed(r, "contenttypeid"), columnNamed(r, "objectid")
		if label, model, ok := strings.Cut(to.name, "_"); ok && content != "" && object != "" {
			suggest(r, Pair{content, Value{Name, model + "_type"}}, object, fmt.Sprintf(
				"if there are rows about them; ids: {%s_type: {lookup: django_content_type, where: {app_label: %s, model: %[1]s}, column: id}}", model, label))
		}
	}
}

// columnNamed is the column of ids with this bare name; "" for none.
func columnNamed(r *relation, name string) string {
	return best(r, func(c column) int {
		if bare(c.name) == name && isID(c) {
			return 1
		}
		return 0
	})
}

// pointers makes a plan of a table that points to the messages.
func (d *draft) pointers(user string, log Entry) {
	d.used[d.owned] = true
	j := d.referencesTo(d.owned, d.log)[0]
	log.References = &j.Reference
	d.note("messages", "A row for each user who has a message; the message goes with the last of them.")
	d.plan.Messages = Entry{Table: planTable(d.owned), Columns: Columns{User: user}}
	d.lookup("messages", d.owned, &d.plan.Messages)
	d.children("messages.parents[0].children", d.log, &log.Children)
	d.plan.Messages.Parents = []Entry{log}
	d.children("children", d.owned, &d.plan.Children)
}

// lookup takes care of a user whose key is another than what commands call them.
func (d *draft) lookup(path string, r *relation, e *Entry) {
	col := r.columns[e.User]
	if e.User == open || e.User == "" || isText(col) {
		return
	}
	for _, users := range d.tables() {
		key := keyOf(users)
		refers := slices.ContainsFunc(d.cat.keys, func(f foreignKey) bool {
			return f.from == r && f.to == users && slices.Equal(f.columns, []string{e.User})
		})
		if users == r || key == "" || !joinable(col, users.columns[key]) || !refers && !has(users.name, []string{"user", "account", "profile"}) {
			continue
		}
		for _, i := range users.indexes {
			names := slices.Clone(i.columns)
			slices.SortFunc(names, func(a, b string) int { return rank(d.apps, bare(a)) - rank(d.apps, bare(b)) })
			login := names[0]
			if !i.unique || rank(loginWords, bare(login)) == 0 || !isText(users.columns[login]) {
				continue
			}
			where := []Pair{{login, Value{Name, "user"}}}
			if len(names) == 2 && rank(d.apps, stem(names[1])) > 0 && isText(users.columns[names[1]]) {
				where = append([]Pair{{names[1], Value{Name, "app"}}}, where...)
			} else if len(names) > 1 {
				continue
			}
			id := ID{Name: "owner", Lookup: &Lookup{Table: planTable(users), Where: where, Column: key}}
			if len(names) == 1 || e.App != "" {
				d.note(path+".user", "%s is a key of %s. If commands have %s instead, write ids: {owner: %s}, and here where: {%s: $owner}.", e.User, planTable(users), list(names), flowID(id), e.User)
				return
			}
			d.plan.IDs = []ID{id}
			d.note("ids", "%s of %s is a key of %s. If commands have that number, write user: %[1]s instead.", e.User, planTable(r), planTable(users))
			e.Where = append([]Pair{{e.User, Value{Name, "owner"}}}, e.Where...)
			e.User, d.plan.Tenant = "", ""
			return
		}
	}
}

// conversations finds the table with a row for each conversation of each owner.
func (d *draft) conversations(user, conversation string) {
	if d.owned == nil {
		d.head = append(d.head, "Conversations are left out until user is named. If a table has a row for each conversation of each owner, add it then.")
		return
	}
	var table *relation
	var entry Entry
	most := 0
	for _, r := range d.tables() {
		if d.used[r] {
			continue
		}
		for _, u := range d.ownersOf(r) {
			for _, c := range r.columnNames() {
				a := d.appOf(r, c, u)
				if c == u || c == a || !d.isConversation(r, u, a, c, conversation) {
					continue
				}
				n := 50 + rank(d.owners, stem(u))
				if unreadOf(r) != "" {
					n += 30
				}
				if has(r.name, conversationWords) || has(r.name, pointerWords) {
					n += 30
				}
				if has(r.name, memberWords) {
					n -= 20
				}
				if n > most {
					most, table = n, r
					entry = Entry{Table: planTable(r), Columns: Columns{App: a, User: u, Conversation: c}}
				}
			}
		}
	}
	if table == nil {
		d.head = append(d.head, "No table has a row for each conversation of each owner, so the plan has none of conversations.")
		return
	}
	if d.plan.Tenant != "" {
		entry.App = ""
	} else if entry.App == "" && len(d.plan.IDs) == 0 {
		d.head = append(d.head, fmt.Sprintf("%s has no column of the app, and so isn't in the plan.", planTable(table)))
		return
	}
	if len(d.plan.IDs) > 0 && user != "" && joinable(table.columns[entry.User], d.owned.columns[user]) {
		entry.Where, entry.User, entry.App = []Pair{{entry.User, Value{Name, "owner"}}}, "", ""
	}
	d.used[table] = true
	entry.Unread = unreadOf(table)
	if has(table.name, memberWords) {
		entry.Keep = true
		d.note("conversations", "A row makes the user a member, and stays. Take keep out if it only lists the conversation, so that it goes.")
	}
	d.sets(table, &entry)
	d.belowConversation(table, &entry)
	d.plan.Conversations = entry
}

// isConversation reports whether a table has one row for a user and a conversation, in
// these columns.
func (d *draft) isConversation(r *relation, user, app, c, conversation string) bool {
	keys := slices.DeleteFunc([]string{app, user, c}, func(s string) bool { return s == "" })
	if d.member != nil {
		return r == d.member && c == conversationOf(r)
	}
	of := d.log.columns[conversation]
	if !joinable(r.columns[c], of) || d.messagesScore(r, c) >= 5 && !has(r.name, memberWords) {
		return false
	}
	// Also id, where the key is that and the owner: threads (owner, id).
	if stem(c) == stem(conversation) || bare(c) == "id" && slices.Contains(d.stems(r), stem(conversation)) {
		return r.unique(keys...)
	}
	return c == keyOf(r) && r == d.tableOf(conversation)
}

func unreadOf(r *relation) string {
	return best(r, func(c column) int {
		if name := bare(c.name); strings.Contains(name, "unread") && isInteger(c) && !c.generated && !has(c.name, []string{"mention", "root"}) {
			return 100 - len(name)
		}
		return 0
	})
}

// sets finds the columns of a conversation's row that follow from its messages.
func (d *draft) sets(r *relation, e *Entry) {
	key := keyOf(d.owned)
	if d.owned != d.log {
		key = d.plan.Messages.Parents[0].References.Column[0]
	}
	sent := d.plan.Messages.SentAt.Column
	if seq := d.plan.Messages.Seq; sent == "" && (seq.Unit != "" || isTime(d.log.columns[seq.Column])) {
		sent = seq.Column
	}
	of := func(c string, from column) bool {
		return from.name != "" && joinable(r.columns[c], from) && (!e.Keep || !r.columns[c].notNull)
	}
	for _, c := range r.columnNames() {
		switch name := bare(c); {
		case slices.Contains(countWords, name) && isInteger(r.columns[c]) && !d.countsRead():
			e.Set = append(e.Set, Pair{c, Value{Kind: Count}})
		case slices.Contains(lastWords, name) && of(c, d.owned.columns[key]):
			e.Set = append(e.Set, Pair{c, Value{Newest, key}})
		case slices.Contains(lastTimeWords, name) && of(c, d.owned.columns[sent]):
			e.Set = append(e.Set, Pair{c, Value{Newest, sent}})
		}
	}
	if len(e.Set) > 0 {
		d.note("conversations.set", "What the row becomes when it stays.")
	}
}

// belowConversation adds the tables that refer to the conversation's row, and suggests those that
// have the same columns.
func (d *draft) belowConversation(table *relation, e *Entry) {
	for _, r := range d.tables() {
		if d.used[r] {
			continue
		}
		for _, j := range d.referencesTo(r, table) {
			below := Entry{Table: planTable(r), References: &j.Reference}
			switch {
			case e.Keep:
			case j.key != nil:
				e.Children = append(e.Children, below)
				d.used[r] = true
			default:
				d.maybe["conversations.children"] = append(d.maybe["conversations.children"], "- "+flow(below)+"   # if its rows should go with the conversation")
				d.used[r] = true
			}
		}
		for _, u := range d.ownersOf(r) {
			for _, c := range r.columnNames() {
				if !d.used[r] && !e.Keep && c != u && stem(c) == stem(or(e.Conversation, "?")) && e.User != "" && joinable(r.columns[u], table.columns[e.User]) {
					d.maybe["conversations.children"] = append(d.maybe["conversations.children"],
						"- "+flow(Entry{Table: planTable(r), Columns: Columns{App: d.appOr(r, e.App, c, u), User: u, Conversation: c}})+"   # if its rows should go with the conversation")
					d.used[r] = true
				}
			}
		}
	}
}

func (d *draft) appOr(r *relation, app, conversation, user string) string {
	if app == "" {
		return ""
	}
	return or(d.appOf(r, conversation, user), open)
}
