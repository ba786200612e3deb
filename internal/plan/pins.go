package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// pin is where the ledger keeps what was looked up when a deletion's boundary was pinned, so that all of its
// statements mean the same rows, whatever becomes of the row that was looked up. The array looked_up begins with a digest of
// all lookups: what another plan has looked up is of no use.
type pin struct {
	digest string
	place  int // in the array, from 2
}

func (p pin) zero() bool { return p.place == 0 }

// in is the pinned value in the row under the alias, as text; null where nothing was found.
func (p pin) in(row string) string { return fmt.Sprintf("%s.looked_up[%d]", row, p.place) }

// ofCommand is the value that was pinned for all deletions of the command of the row under the alias, as text; null where none was.
func (p pin) ofCommand(row string) string {
	if p.zero() {
		return "null"
	}
	return fmt.Sprintf(`(
      select %s from lethe.enumerations e
      where e.app_id = %[2]s.app_id and e.command_id = %[2]s.command_id and e.looked_up[1] = %[3]s limit 1)`, p.in("e"), row, text(p.digest))
}

// bindPins gives all lookups that depend on the command's ids their places.
func (s *Checked) bindPins() {
	var all []string
	pinned := s.pinned()
	for _, l := range pinned {
		all = append(all, l.find("", idsOf("q")))
	}
	sum := sha256.Sum256([]byte(strings.Join(all, "\n")))
	for i, l := range pinned {
		l.pin = pin{hex.EncodeToString(sum[:4]), i + 2}
	}
}

// Unpin makes the statements look up all values, as they must where there is no ledger. No other goroutine may use s yet.
func (s *Checked) Unpin() {
	for _, l := range s.lookups {
		l.pin = pin{}
	}
}

func (s *Checked) pinned() []*lookup {
	return slices.DeleteFunc(slices.Clone(s.lookups), func(l *lookup) bool { return !l.uses(func(string) bool { return true }) })
}

// LooksUp reports whether a deletion has anything in looked_up.
func (s *Checked) LooksUp() bool { return len(s.pinned()) > 0 }

// LookUp is the array of what the plan looks up, for the deletion under the alias q; "" if that is nothing. What
// was pinned for its command is so.
func (s *Checked) LookUp(q string) string {
	return s.array(func(l *lookup) string {
		return fmt.Sprintf("coalesce(%s, %s)", l.pin.ofCommand(q), l.find("::text", idsOf(q)))
	})
}

// LookUpUser is [Checked.LookUp] for a command that doesn't name its conversations: null for what depends on one.
func (s *Checked) LookUpUser(q string) string {
	return s.array(func(l *lookup) string {
		if l.uses(func(id string) bool { return id == "conversation_id" }) {
			return "null"
		}
		return l.find("::text", idsOf(q))
	})
}

// LookedUp is the array for the ledger's row d: what was found is pinned, and what wasn't is looked up.
func (s *Checked) LookedUp(d string) string {
	return s.array(func(l *lookup) string {
		return fmt.Sprintf("coalesce(case when %s.looked_up[1] = %s then %s end, %s, %s)",
			d, text(l.pin.digest), l.pin.in(d), l.pin.ofCommand(d), l.find("::text", idsOf(d)))
	})
}

// LookedUpArgs is [Checked.LookedUp] for a statement about one deletion, which the ledger needn't know.
func (s *Checked) LookedUpArgs() string {
	return s.array(func(l *lookup) string { return l.value(idArgs()) })
}

func (s *Checked) array(value func(*lookup) string) string {
	if !s.LooksUp() {
		return ""
	}
	values := mapped(s.pinned(), value)
	return fmt.Sprintf("array[%s, %s]", text(s.pinned()[0].pin.digest), strings.Join(values, ", "))
}

// pinOfArgs is one value of [Checked.LookedUpArgs].
func pinOfArgs(p pin, l *lookup) string {
	return fmt.Sprintf(`coalesce((
      select %s from lethe.deletions d
      where d.app_id = @app::text and d.command_id = @command::text and d.user_id = @user::text and d.conversation_id = @conversation::text
        and d.looked_up[1] = %[2]s limit 1), (
      select %[3]s from lethe.enumerations e
      where e.app_id = @app::text and e.command_id = @command::text and e.looked_up[1] = %[2]s limit 1), %[4]s)`,
		p.in("d"), text(p.digest), p.in("e"), l.find("::text", idArgs()))
}

// Vanished is the expression for the tables in which nothing is found by which the messages of the deletion under
// the alias q could be, for people: null where something is in each. "" where the plan looks up no such thing.
func (s *Checked) Vanished(q string) string {
	find := slices.Clone(s.Messages.conditions)
	if p := s.Messages.pointer; p != nil {
		find = append(find, p.conditions...)
	}
	return s.missing(q, func(l *lookup) bool {
		return slices.ContainsFunc(find, func(c condition) bool { return c.value.lookup == l })
	})
}

// Replaced is the condition that the conversation's row, in a statement about one deletion, is not the one that was looked up when
// the boundary was pinned, but has come in its place; false where the plan doesn't look the messages up by such rows.
func (s *Checked) Replaced(row string) string {
	replaced := "false"
	for _, l := range s.pinned() {
		if l.table == s.Conversations.Name {
			replaced = fmt.Sprintf("%s.%s::text is distinct from %s", row, l.column, l.value(idArgs()))
		}
	}
	return replaced
}

// Missing is [Checked.Vanished] for all that the plan looks up. A conversation that isn't there is no wonder.
func (s *Checked) Missing(q string) string {
	return s.missing(q, func(l *lookup) bool { return !l.uses(func(id string) bool { return id == "conversation_id" }) })
}

func (s *Checked) missing(q string, such func(*lookup) bool) string {
	var missing []string
	for _, l := range s.lookups {
		if such(l) {
			missing = append(missing, fmt.Sprintf("case when %s is null then %s end", l.value(idsOf(q)), text("no row of "+l.table)))
		}
	}
	if missing == nil {
		return ""
	}
	return "nullif(pg_catalog.concat_ws(', ', " + strings.Join(missing, ", ") + "), '')"
}
