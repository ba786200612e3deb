package plan

import (
	"slices"
	"strings"
)

// nameAccounts decides what an account is here: the app, where a table has the owner besides, and else a person. It is sure
// of a person where a message's sender is an account, by its name or by what it refers to.
func (d *draft) nameAccounts() {
	d.owners, d.apps = ownerWords, appWords
	account := func(c string) bool { return stem(c) == "account" }
	tenants := false
	for _, r := range d.tables() {
		columns, senders := slices.DeleteFunc(r.columnNames(), func(c string) bool { return !account(c) || !isID(r.columns[c]) }), sendersOf(r)
		d.persons = d.persons || slices.ContainsFunc(senders, func(c string) bool {
			return strings.HasSuffix(stem(c), "account") || slices.ContainsFunc(columns, func(a string) bool { return d.sameKey(r, a, c) })
		})
		tenants = tenants || slices.ContainsFunc(columns, func(c string) bool { return !r.unique(c) }) && len(d.ownersOf(r)) > 0
	}
	if d.persons || !tenants {
		d.owners = append(slices.Clone(ownerWords), "account")
		d.apps = slices.DeleteFunc(slices.Clone(appWords), account)
	}
}

// sameKey reports whether the two columns refer to one table's column by foreign keys.
func (d *draft) sameKey(r *relation, a, b string) bool {
	return slices.ContainsFunc(d.cat.keys, func(f foreignKey) bool {
		return f.from == r && slices.Equal(f.columns, []string{a}) && slices.ContainsFunc(d.cat.keys, func(g foreignKey) bool {
			return g.from == r && slices.Equal(g.columns, []string{b}) && g.toName == f.toName && slices.Equal(g.refs, f.refs)
		})
	})
}

// ownersOf are the columns that may have the owner, the most likely first.
func (d *draft) ownersOf(r *relation) []string {
	var all []string
	for _, c := range r.columnNames() {
		if rank(d.owners, stem(c)) > 0 && isID(r.columns[c]) {
			all = append(all, c)
		}
	}
	slices.SortStableFunc(all, func(a, b string) int { return rank(d.owners, stem(b)) - rank(d.owners, stem(a)) })
	return all
}

// usersOf is ownersOf a table of members, and its columns that refer to the people who send messages, such as account_id.
func (d *draft) usersOf(r *relation) []string {
	users := d.ownersOf(r)
	if len(users) > 0 || !has(r.name, memberWords) {
		return users
	}
	for _, people := range d.tables() {
		if !slices.ContainsFunc(d.referencesTo(d.log, people), func(j joint) bool { return len(j.Column) == 1 && slices.Contains(sendersOf(d.log), j.Column[0]) }) {
			continue
		}
		for _, j := range d.referencesTo(r, people) {
			if len(j.Column) == 1 {
				users = append(users, j.Column[0])
			}
		}
	}
	return users
}

func sendersOf(r *relation) []string {
	return slices.DeleteFunc(r.columnNames(), func(c string) bool { return rank(senderWords, stem(c)) == 0 || !isID(r.columns[c]) })
}

// together reports whether one index has both columns, as it has where rows are found by both.
func together(r *relation, a, b string) bool {
	return slices.ContainsFunc(r.indexes, func(i index) bool { return slices.Contains(i.columns, a) && slices.Contains(i.columns, b) })
}

// findOwner finds the column that tells whose copy a row is, in the log or in what points
// to it. "TODO" where it may be the sender; "" where the conversation's row tells it, or the log is shared.
func (d *draft) findOwner(conversation string) string {
	if d.member != nil {
		d.owned = d.log
		return ""
	}
	owners, senders := d.ownersOf(d.log), sendersOf(d.log)
	members, table := d.membersOf(d.log, conversation), d.tableOf(conversation)
	doubtful := func(c string) bool { return stem(c) == "account" && !d.persons }
	if members != nil && !d.persons && stem(d.usersOf(members)[0]) != "account" { // who reads has another name
		d.owners, d.apps = ownerWords, appWords
		owners = d.ownersOf(d.log)
	}
	for _, c := range owners {
		if doubtful(c) {
			d.note("messages.user", "If %s is what commands call app_id, write app: %[1]s, and take tenant out.", c)
			continue
		}
		named := rank(d.owners, stem(c)) > len(d.owners)-3
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
	if table != nil && members == nil && len(owners) == 0 && len(d.ownersOf(table)) > 0 {
		d.owned = d.log
		return ""
	}
	switch {
	case len(owners) > 0 && (members == nil || len(senders) > 0 || together(d.log, owners[0], conversation)):
		d.note("messages.user", "Whose copy is a row? If %s is the owner of the copy, put it here.", list(owners))
		d.note("messages.user", "If it is the sender, the table is a log that members share: take the line out, and say who reads it under members (docs/plan.md).")
		return open
	case members != nil:
		d.share(append(owners, senders...), members, conversation)
	default:
		d.share(senders, nil, conversation)
	}
	return ""
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
	user := d.ownersOf(table)[0]
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

// membersOf is the table that has a row for each member of a conversation; nil for none.
func (d *draft) membersOf(log *relation, conversation string) *relation {
	for _, r := range d.tables() {
		if r == log || has(r.name, besideWords) && !has(r.name, memberWords) {
			continue
		}
		for _, user := range d.usersOf(r) {
			for _, c := range r.columnNames() {
				if _, unique := r.uniqueAmong(user, c); unique && c != user && stem(c) == stem(conversation) && d.messagesScore(r, c) < 5 {
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
			for _, user := range d.ownersOf(r) {
				if len(ref.Column) == 1 && ref.Column[0] != user && r.unique(user, ref.Column[0]) {
					return r, user
				}
			}
		}
	}
	return nil, ""
}
