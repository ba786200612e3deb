package plan

import "slices"

// unowned reports whether the entry's rows belong to no user, and what is wrong with that: in a shared log all of them do so.
func (v *validator) unowned(path string, e Entry, conds []Pair) bool {
	uses := v.plan.binds(conds, "user") != notAtAll
	switch {
	case !v.plan.Shared() && !uses && v.ownerless:
		if path != "messages" {
			return true // the answer for the messages tells
		}
		v.add(e.line, "messages.user is missing, a column or a condition on $user under where: whose are the messages? If each message has a row for each of its owners, name the column of the owner. "+
			"If it has one row that all members read, the plan must say who they are: members: {table: …, user: …, conversation: …}, or members: none if no table does")
		return true
	case !v.plan.Shared():
		return false
	case uses:
		v.add(e.line, "%s: a condition uses $user, and members says that all of them share one log: the rows of a shared log belong to no user; take out the condition, or if each message has a row for each owner, members", path)
	}
	return true
}

// members checks who reads a shared log.
func (v *validator) members() {
	if v.plan.Members == nil {
		return
	}
	m := *v.plan.Members
	v.entry("members", m)
	v.bound("members", m, m.Conditions())
	if c := v.plan.Conversations; c.Table != "" && c.line > 0 && c.lines["keep"] == 0 {
		v.add(c.line, "conversations.keep is missing: what becomes of the row that all members share? With true it never goes; with false it goes once no member and no message is left, and with a deletion for everyone")
	}
	if c := v.plan.Conversations; c.Unread != "" {
		v.add(c.at("unread"), "conversations.unread: all members share the row: expected unread in members")
	}
}

// everyone checks of which conversations all copies can go: an owner's id must be read from their rows.
func (v *validator) everyone() {
	e := v.plan.Everyone
	switch {
	case e == nil:
		return
	case v.plan.Shared():
		v.add(e.line, "everyone: in a shared log all ids are shared: expected none")
		return
	case v.plan.Pointed() >= 0:
		v.add(e.line, "everyone: the messages are pointers, whose owners can't be listed by conversation: expected none")
		return
	}
	for _, entry := range []Placed{{"messages", v.plan.Messages}, {"conversations", v.plan.Conversations}} {
		for _, name := range []string{"user", "conversation"} {
			named := slices.ContainsFunc(entry.Conditions(), func(c Pair) bool { return c.Value == Value{Name, name} })
			if entry.Table != "" && !named && v.plan.binds(entry.Conditions(), name) == wholly {
				v.add(e.line, "everyone: %s has no column with the whole of $%s, so that its owners can't be listed: expected none", entry.Path, name)
			}
		}
	}
}
