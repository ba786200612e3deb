package plan

import "fmt"

// What a dry run counts: rows that go with the messages at or below a bound, found without locking or
// deleting anything.

// covered is the condition that the row of the child table, or of the messages for nil, goes with the messages at or below
// the bound. It leads up from the row to its message.
func (s *Checked) covered(c *Child, row, bound string) string {
	if c == nil {
		return s.Messages.is(row, " and "+s.Messages.AtOrBelow(row, bound))
	}
	if c.Reference == nil {
		return fmt.Sprintf("%s and %s.%s <= %s", c.MatchArgs(row), row, c.Seq, bound)
	}
	above, at := fmt.Sprintf("up_%d", len(c.path)), hop{}
	if len(c.path) > 0 {
		at = c.path[len(c.path)-1]
	}
	table, cond := s.Messages.Name, ""
	switch {
	case at.parent != nil:
		table, cond = at.parent.Name, s.GoesThrough(at.parent, nil, above, bound)
	case at.child != nil:
		table, cond = at.child.Name, s.covered(at.child, above, bound)
	default:
		cond = s.covered(nil, above, bound)
	}
	return fmt.Sprintf("exists (select from %s %s where %s and %s offset 0)", table, above, c.BelongsToArgs(row, above), cond)
}

// GoesThrough is the condition that the parent's row goes with the messages at or below the bound: nothing else refers
// to it. above is the child table to whose rows it is a parent, nil for the messages.
func (s *Checked) GoesThrough(p *Parent, above *Child, row, bound string) string {
	return "true" + p.unreferred(row, func(r string) string { return "(" + s.covered(above, r, bound) + ") is not true" })
}

// TallyHops are [Checked.Hops] for a dry run's page of messages, those at or below @high: a parent counts in the page of the last
// message that refers to it.
func (s *Checked) TallyHops(c *Child) string {
	return s.hops(c, func(p *Parent, row string) string { return s.GoesThrough(p, nil, row, "@high::bigint") })
}

// Again is the condition that a row of the child table was counted as one of another entry of the same table.
func (s *Checked) Again(c *Child, row string) string {
	cond := "false"
	for _, other := range s.Children {
		if other == c {
			break
		}
		if other.Name == c.Name && (other.Set == "") == (c.Set == "") {
			cond += " or coalesce(" + s.covered(other, row, "@through::bigint") + ", false)"
		}
	}
	return cond
}
