package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
)

// build makes the schema from the plan's names and the catalog's types. It is
// whole only if nothing was found wrong.
func (k *checker) build() *Checked {
	s := &Checked{tenant: k.plan.Tenant, Encoding: k.cat.encoding}
	p := k.plan.Messages
	k.messages = k.member("messages", p.Table)
	s.Messages.Table = k.table(&k.messages, p)
	if at := k.plan.Pointed(); at >= 0 {
		k.pointer(s, nth("messages.parents", at), p.Parents[at])
	} else {
		s.Messages.position = k.position(&k.messages, p.Seq)
		s.Messages.SentAt, s.Messages.clock = k.sentAt(&k.messages, p)
		s.Messages.UniqueSeq = k.messages.rel != nil && !s.Messages.time && k.messages.rel.unique(append(k.messages.found(), k.messages.seq)...)
	}

	s.Shared, s.Everyone = k.plan.Shared(), k.plan.Everyone
	if k.memb.path = "members"; k.plan.Members != nil {
		s.Members = k.buildMembers(s, *k.plan.Members)
	}
	c := k.plan.Conversations
	if k.convs.path = "conversations"; c.Table != "" {
		k.convs = k.member("conversations", c.Table)
		s.Conversations.Table = k.table(&k.convs, c)
	}
	if c.Unread != "" {
		s.Conversations.Unread = k.unread(&k.convs, c.Unread)
		s.Conversations.Hints = append(s.Conversations.Hints, s.Conversations.Unread)
	}
	s.Conversations.Hints = append(s.Conversations.Hints, k.lastSeq()...)
	s.Conversations.Set, s.Conversations.Keep = k.conversationSet(c.Set), c.Keep
	k.tree(s)
	if s.Members != nil && c.Table != "" && !c.Keep {
		s.Conversations.Children = append(s.Conversations.Children, s.Members.leaving())
	}
	k.readByPointer(s)
	k.spell(s)
	s.bind()
	return s
}

// member finds the table and reports what is wrong with it as a whole.
func (k *checker) member(path, planned string) member {
	m := member{path: path}
	wanted, _ := parseTable(planned) // validated
	rel := k.cat.relations[wanted]
	switch {
	case rel == nil && wanted.schema == "":
		k.refuse("%s.table: there is no table %s on the search path (%s); write schema.table, in just the case that the table has", path, wanted, k.cat.searchPath)
		return m
	case rel == nil:
		k.refuse("%s.table: there is no table %s; name one that exists, in just the case that it has", path, wanted)
		return m
	case rel.kind != "r" && rel.kind != "p":
		k.refuse("%s.table: %s is %s; name a table", path, rel, kindName(rel.kind))
		return m
	case len(rel.rules) > 0:
		k.refuse("%s.table: %s has a rule for update or delete (%s), which changes what the statements do; drop or disable it", path, rel, list(rel.rules))
	}
	m.rel = rel
	return m
}

func kindName(kind string) string {
	names := map[string]string{
		"v": "a view", "m": "a materialized view", "f": "a foreign table",
		"S": "a sequence", "i": "an index", "I": "an index", "c": "a composite type",
	}
	if n := names[kind]; n != "" {
		return n
	}
	return "not a table"
}

func name(r *relation) string {
	if r == nil {
		return ""
	}
	return r.String()
}

// column finds a column. The zero value, after a complaint, if there is none.
func (k *checker) column(m *member, field, planned string) column {
	if m.rel == nil {
		return column{}
	}
	wanted, _ := parseColumn(planned) // validated
	c, ok := m.rel.columns[wanted]
	if !ok {
		k.refuse("%s.%s: table %s has no column %s; name one of: %s", m.path, field, m.rel, quote(wanted), strings.Join(m.rel.columnNames(), ", "))
	}
	return c
}

// table makes the table of an entry.
func (k *checker) table(m *member, e Entry) Table {
	return Table{Name: name(m.rel), Partitioned: m.rel != nil && m.rel.partitioned, conditions: k.conditions(m, e)}
}

// keyTypeOf is the type as a key; sameKey if it can be none, perhaps with a reason.
func keyTypeOf(c column) (typ keyType, why string) {
	switch c.typ {
	case 0: // missing, which has been reported
		return textKey, ""
	case pgtype.TextOID, pgtype.VarcharOID:
		if !c.deterministic {
			return "", " in a nondeterministic collation, in which different ids may be equal"
		}
		return textKey, ""
	case pgtype.Int8OID:
		return bigintKey, ""
	case pgtype.Int4OID:
		return intKey, ""
	case pgtype.UUIDOID:
		return uuidKey, ""
	case pgtype.BPCharOID:
		return "", ", in which blanks at the end don't count"
	}
	if strings.HasSuffix(c.typeName, "citext") {
		return "", ", in which case doesn't count, so that different ids may be equal"
	}
	return "", ""
}

func isInteger(c column) bool {
	return slices.Contains([]uint32{pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID}, c.typ)
}

// position finds the column of the messages' position.
func (k *checker) position(m *member, r Reading) position {
	c, kind := k.positionColumn(m, "seq", r)
	k.wantNotNull(m, "seq", c, "a row without a position is on no side of a boundary")
	m.seq = c.name
	return position{quote(c.name), scales[kind]}
}

// positionColumn finds a column with a position, and its kind.
func (k *checker) positionColumn(m *member, field string, r Reading) (c column, kind string) {
	c, kind = k.column(m, field, r.Column), "number"
	switch integer := isInteger(c); {
	case c.typ == 0:
	case integer && r.Unit != "":
		kind = r.Unit
	case integer:
	case c.typ == pgtype.TimestamptzOID && r.Unit == "":
		kind = "timestamptz"
	case c.typ == pgtype.TimestampOID && r.Unit == "":
		kind = "timestamp"
	case r.Unit != "":
		k.refuse("%s.%s: column %s of %s is %s, and has the unit %s; a unit is for smallint, integer or bigint", m.path, field, quote(c.name), m.rel, c.typeName, r.Unit)
	default:
		k.refuse("%s.%s: column %s of %s is %s; it must be smallint, integer, bigint, timestamp with time zone or timestamp%s", m.path, field, quote(c.name), m.rel, c.typeName, generated(m.rel, c))
	}
	return c, kind
}

// generated is how to come by a position where a column has numbers of another type; "" where it can't have any.
func generated(r *relation, c column) string {
	if !slices.Contains(textTypes, c.typ) && c.typ != pgtype.NumericOID {
		return ""
	}
	return fmt.Sprintf("; else add a generated column, for seconds with a fraction {column: %s, unit: us}; run: "+
		"alter table %s add %s bigint not null generated always as ((%s::numeric * 1000000)::bigint) stored",
		scalar(c.name+"_us"), r, quote(c.name+"_us"), quote(c.name))
}

// seq finds the column of a child with the messages' position and returns it quoted.
func (k *checker) seq(m *member, planned string) string {
	c := k.column(m, "seq", planned)
	if c.typ != 0 && !isInteger(c) {
		k.refuse("%s.seq: column %s of %s is %s; it must be smallint, integer or bigint", m.path, quote(c.name), m.rel, c.typeName)
	}
	k.wantNotNull(m, "seq", c, "a row without a position is on no side of a boundary")
	m.seq = c.name
	return quote(c.name)
}

// wantNotNull refuses a column that may be null. Ids may: a row without its owner
// or conversation is nobody's, and no deletion could mean it.
func (k *checker) wantNotNull(m *member, field string, c column, why string) {
	if mayBeNull(m.rel, c) {
		k.refuse("%s.%s: column %s of %s may be null, and %s; run: alter table %s alter column %s set not null",
			m.path, field, quote(c.name), m.rel, why, m.rel, quote(c.name))
	}
}

func mayBeNull(r *relation, c column) bool {
	may := func(r *relation) bool { return !r.columns[c.name].notNull }
	return c.typ != 0 && (may(r) || slices.ContainsFunc(r.heirs, may))
}

// sentAt finds the column of the messages' time: the position, where that is one and no other is named; "" for none.
func (k *checker) sentAt(m *member, e Entry) (quoted string, times clock) {
	r := e.SentAt
	if r.Column == "" {
		if c := m.rel.columnNamed(m.seq); e.Seq.Unit == "" && isInteger(c) || c.typ == 0 {
			return "", clock{}
		}
		r = Reading{Column: e.Seq.Column, Unit: e.Seq.Unit}
	}
	c := k.column(m, "sent_at", r.Column)
	where := m.path + ".sent_at: column %s of %s is %s"
	switch integer := isInteger(c); {
	case c.typ == 0:
	case integer && r.Unit == "":
		k.refuse(where+", and has no unit; write {column: %s, unit: s, ms, us or ns}", quote(c.name), m.rel, c.typeName, c.name)
	case integer:
	case r.Unit != "":
		k.refuse(where+", and has the unit %s; a unit is for smallint, integer or bigint", quote(c.name), m.rel, c.typeName, r.Unit)
	case c.typ != pgtype.TimestamptzOID && c.typ != pgtype.TimestampOID:
		k.refuse(where+"; it must be timestamp with time zone, or timestamp in UTC, or a number with a unit", quote(c.name), m.rel, c.typeName)
	}
	if c.preset == "" {
		k.wantNotNull(m, "sent_at", c, "a message without a time is neither before nor after a command")
	} else if mayBeNull(m.rel, c) { // only where a writer writes null instead of nothing
		k.warn(m.path+".sent_at: column %s of %s may be null: without through_seq a message without a time counts as sent after the command, and stays unless a later one is deleted; run: alter table %s alter column %s set not null",
			quote(c.name), m.rel, m.rel, quote(c.name))
	}
	if c.typ == 0 {
		return quote(c.name), times // refused already
	}
	times = clockOf(c, k.cat.server)
	if r.Unit != "" {
		times = countedClock(r)
	}
	for _, fact := range times.facts {
		k.warn(m.path+".sent_at: column %s of %s %s", quote(c.name), m.rel, fact)
	}
	return quote(c.name), times
}

func (k *checker) unread(m *member, planned string) string {
	c := k.column(m, "unread", planned)
	switch {
	case c.typ == 0:
	case !isInteger(c):
		k.refuse("%s.unread: column %s of %s is %s; it must be smallint, integer or bigint", m.path, quote(c.name), m.rel, c.typeName)
	case c.generated:
		k.refuse("%s.unread: column %s of %s is generated and can't be set; leave unread out", m.path, quote(c.name), m.rel)
	}
	return quote(c.name)
}

// lastSeq is the conversations' own column of the newest position, by its usual
// name and if we may read it: no deletion needs it, but it can show that rows weren't
// found.
func (k *checker) lastSeq() []string {
	const name = "last_seq"
	if rel := k.convs.rel; rel != nil && isInteger(rel.columns[name]) && rel.readable[name] && k.plan.Conversations.Unread != name {
		return []string{quote(name)}
	}
	return nil
}

var textTypes = []uint32{pgtype.TextOID, pgtype.VarcharOID}

// joinable reports whether a = b is defined and can use an index on either.
func joinable(a, b column) bool {
	switch {
	case isInteger(a) && isInteger(b):
		return true
	case a.typ == b.typ, slices.Contains(textTypes, a.typ) && slices.Contains(textTypes, b.typ):
		return a.collation == b.collation
	}
	return false
}

// noteUndated says which commands are refused where nothing tells when a message was sent: see [Checked.Incompatible].
func (k *checker) noteUndated(s *Checked) {
	if s.Messages.SentAt != "" {
		return
	}
	path, refused := "messages", "commands without through_seq are refused (boundary_required)"
	if k.pointed.path != "" {
		path = k.pointed.path
	}
	if _, err := s.ConversationsOfUser(); err == nil {
		refused += ", and so are all with all_conversations"
	}
	if s.Everyone != nil {
		refused += ", and all with scope everyone, which have none here"
	}
	k.notes = append(k.notes, fmt.Sprintf("%s: without sent_at nothing tells which messages are older than a command: %s; name the column of the time in sent_at, or see that producers send through_seq", path, refused))
}
