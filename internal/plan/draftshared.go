package plan

import (
	"regexp"
	"slices"
	"strings"
)

// share makes the log one that members share. members says who they are; nil where no table does.
func (d *draft) share(senders []string, members *relation, conversation string) {
	d.owned = d.log
	what := "a message is taken for one row that all members read"
	if len(senders) > 0 {
		what += ", and " + list(senders) + " for who sent it"
	}
	d.note("messages", "A shared log: %s. If each row is one user's copy, name the column of its owner, user, and take members out.", what)
	kinds := slices.ContainsFunc(senders, func(c string) bool { return columnOfType(d.log, c) != "" })
	switch {
	case kinds: // then a table of users doesn't list all who read
		d.plan.NoMembers, d.none = true, "none"
		d.note("members", "Rows of several tables send messages, so that no one table lists who reads them: only commands for everyone delete.")
		if members != nil {
			d.note("members", "If %s lists all of them: {table: %[1]s, user: %s, conversation: %s}.",
				planTable(members), scalar(d.usersOf(members)[0]), scalar(d.conversationIn(members, conversation)))
		}
		return
	case members == nil:
		d.plan.NoMembers, d.none = true, open
		d.note("members", "Who reads a conversation? If a table says so: {table: …, user: …, conversation: …}. If none does, write none: then only commands for everyone delete.")
		return
	}
	d.used[members] = true
	e := &Entry{Table: planTable(members), Columns: Columns{User: d.usersOf(members)[0], Conversation: d.conversationIn(members, conversation)}, Unread: unreadOf(members)}
	e.App = d.appOf(members, e.Conversation, e.User)
	if d.appOf(d.log, conversation, "") == "" {
		e.App = ""
	}
	if e.Where, _ = members.uniqueAmong(e.User, e.Conversation); len(e.Where) > 0 {
		d.note("members.where", "Only among these rows has a member one of a conversation: others are taken for times when they were a member before.")
	}
	d.plan.Members = e
	d.note("members", "Who reads a conversation. What all of them have deleted is erased.")
}

// columnOfType is the column that says of which table's row the id in a column is; "" for none.
func columnOfType(r *relation, id string) string {
	return best(r, func(c column) int {
		if bare(c.name) == strings.TrimSuffix(bare(id), "id")+"type" {
			return 1
		}
		return 0
	})
}

// conversationIn is the members' column of the conversation.
func (d *draft) conversationIn(members *relation, conversation string) string {
	return best(members, func(c column) int {
		if stem(c.name) == stem(conversation) {
			return 1
		}
		return 0
	})
}

// gone are the bare names of columns of which it is sure that they say who has left.
var gone = regexp.MustCompile(`^(is)?(left|kicked|banned|exited|departed)(at|on|time)?$`)

// memberColumns chooses the watermark and the conditions, once the position is known.
func (d *draft) memberColumns() {
	e := d.plan.Members
	if e == nil {
		return
	}
	r, seq := d.relationOf(e.Table), d.log.columns[d.plan.Messages.Seq.Column]
	fits := func(c column) bool {
		return isInteger(seq) && d.plan.Messages.Seq.Unit == "" && isInteger(c) || isTime(seq) && c.typ == seq.typ
	}
	for _, name := range r.columnNames() {
		c := r.columns[name]
		value := left(c)
		if slices.ContainsFunc(e.Where, func(w Pair) bool { return leftStem(w.Column) == leftStem(name) }) {
			continue
		}
		switch {
		case clears.MatchString(bare(name)) && fits(c) && e.Watermark.Column == "":
			e.Watermark.Column = name
			d.note("members.watermark", "Lethe sets it to the last position that the member has deleted: the app must show them what is above it, %s > %s.", seq.name, name)
		case value != "" && gone.MatchString(bare(name)):
			e.Where = append(e.Where, Pair{name, map[string]Value{"null": {}, "true": {Bool, "true"}, "false": {Bool, "false"}}[value]})
			d.note("members.where", "Other members have left: they don't count, and what only they could read is erased.")
		case value != "":
			or := ""
			if value == "null" && fits(c) {
				or = " If the app shows them only what was sent after it, write watermark: " + name + " instead."
			}
			d.note("members", "If %s says who still reads, add where: {%[1]s: %s}: others won't keep messages from being erased.%s", name, value, or)
		case starts.MatchString(bare(name)) && fits(c):
			d.note("members", "If the app shows a member nothing below %s, add visible_from: %[1]s.", name)
		}
	}
	if e.Watermark.Column == "" {
		d.note("members", "No column says through which message a member has deleted a conversation, so that lethe.watermarks does: the app must read history through it (docs/shared-logs.md).")
	}
}

// relationOf is the table of this name in the plan.
func (d *draft) relationOf(table string) *relation {
	for _, r := range d.tables() {
		if planTable(r) == table {
			return r
		}
	}
	return nil
}

// countsRead reports whether the members have counters that are compared with the conversation's number of messages.
func (d *draft) countsRead() bool {
	if d.plan.Members == nil {
		return false
	}
	return slices.ContainsFunc(d.relationOf(d.plan.Members.Table).columnNames(), func(c string) bool {
		return has(c, []string{"msgcount", "messagecount"})
	})
}

// sharedConversations finds the table of the conversations' rows, one for all members.
func (d *draft) sharedConversations(conversation string) {
	d.memberColumns()
	table := d.tableOf(conversation)
	if table == nil || d.used[table] {
		d.head = append(d.head, "No table has a row for each conversation, so the plan has none of conversations.")
		return
	}
	d.used[table] = true
	e := Entry{Table: planTable(table), Where: []Pair{{keyOf(table), Value{Name, "conversation"}}}, Keep: true}
	if app := d.plan.Messages.App; app != "" {
		if e.App = d.appOf(table, keyOf(table), ""); joinable(table.columns[app], d.log.columns[app]) {
			e.App = app
		}
		if e.App == "" {
			d.head = append(d.head, planTable(table)+" has no column of the app, and so isn't in the plan.")
			return
		}
	}
	d.note("conversations", "The row that all members share. With keep: true it never goes; with false it goes once no member and no message is left, and with a deletion for everyone.")
	d.sets(table, &e)
	d.plan.Conversations = e
}
