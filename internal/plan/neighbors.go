package plan

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/purge"
)

// neighbor is a table beside those of the plan, with those of its columns whose names say something.
type neighbor struct {
	schema, name string
	columns      []string
	types        []uint32
	tied         []string // what each refers to by foreign keys, which say more than a name: "schema"."table" column, by lines
}

// free returns the column of this bare name that refers to nothing by a foreign key, or to one of the same; "" if there is none.
func (n neighbor) free(name string, fits func(typ uint32) bool, same ...string) string {
	for i, c := range n.columns {
		tied := n.tied[i] != "" && !slices.ContainsFunc(strings.Split(n.tied[i], "\n"), func(to string) bool { return slices.Contains(same, to) })
		if bare(c) == name && (!tied || slices.Contains(same, quote(n.schema, n.name)+" "+c)) && fits(n.types[i]) {
			return c
		}
	}
	return ""
}

// scopes are those of what the column of this bare name refers to that have the name, too: with (tenant_id, user_id) a
// row refers to a user of its tenant, which is the messages' tenant nevertheless.
func (n neighbor) scopes(name string) (out []string) {
	for i, c := range n.columns {
		for to := range strings.SplitSeq(n.tied[i], "\n") {
			if at := strings.LastIndex(to, `" `); bare(c) == name && at >= 0 && bare(to[at+2:]) == name {
				out = append(out, to)
			}
		}
	}
	return out
}

// tiedTo is what the column of the relation refers to by foreign keys, written as in [neighbor].tied.
func (c *catalog) tiedTo(rel *relation, column string) (out []string) {
	for _, f := range c.keys {
		if i := slices.Index(f.columns, column); f.from == rel && i >= 0 {
			out = append(out, f.toName+" "+f.refs[i])
		}
	}
	return out
}

// named returns the column of this bare name; "" if there is none.
func (n neighbor) named(name string) string {
	if i := slices.IndexFunc(n.columns, func(c string) bool { return bare(c) == name }); i >= 0 {
		return n.columns[i]
	}
	return ""
}

func (c *catalog) readNeighbors(ctx context.Context, q Querier, names []string) ([]neighbor, error) {
	var oids []uint32
	for _, r := range c.relations {
		oids = append(oids, r.oid)
		for _, heir := range r.heirs {
			oids = append(oids, heir.oid)
		}
	}
	rows, err := q.Query(ctx, c.query("neighbors"), oids, names, somethingElse.String())
	if err != nil {
		return nil, fmt.Errorf("catalog: neighbors: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (n neighbor, err error) {
		return n, row.Scan(&n.schema, &n.name, &n.columns, &n.types, &n.tied)
	})
	if err != nil {
		return nil, fmt.Errorf("catalog: neighbors: %w", err)
	}
	return all, nil
}

// somethingElse are bare names of the columns with which a row belongs to a row of several tables:
// record_type and record_id, commentable_type and commentable_id, content_type_id and object_id.
var somethingElse = regexp.MustCompile(`^(.*able|record|item|subject|target|object|resource|entity|content)(type|typeid|id)$`)

// target is a table of the plan to whose rows those of others may belong.
type target struct {
	Placed
	key   column   // what they would refer to
	with  []string // what it is unique with, of a partitioned table
	names []string // plain ones, of columns that refer to it
	class string   // as Rails calls it
}

// targets are the tables from which rows go one by one, the messages' first.
func (k *checker) targets() []target {
	var out []target
	for _, e := range k.plan.Entries() {
		rel := k.relation(e.Table)
		if rel == nil || len(e.Set) > 0 || strings.HasPrefix(e.Path, "conversations") || e.Path == "members" || strings.Contains(e.Path, "kept_by") {
			continue
		}
		t := target{Placed: e, key: rel.ownKey()}
		if t.key.name == "" && rel.kind == "p" {
			t.key, t.with = rel.partKey(e.Seq.Column)
		}
		t.names = []string{singular(rel.name) + "id"}
		if e.Seq.Column != "" && strings.HasPrefix(e.Path, "messages") {
			t.names = messageNames(rel)
		}
		t.class = class(rel.name)
		if t.key.name != "" {
			out = append(out, t)
		}
	}
	return out
}

// relation is a table that the plan names; nil if there is none.
func (k *checker) relation(planned string) *relation {
	name, _ := parseTable(planned) // validated
	return k.cat.relations[name]
}

// ownKey is the column by which others would refer to a row: the one of a unique index, id before others.
func (r *relation) ownKey() (key column) {
	for _, i := range r.indexes {
		if i.unique && len(i.columns) == 1 && i.columns[0] != "" && (key.name == "" || i.columns[0] == "id") {
			key = r.columns[i.columns[0]]
		}
	}
	return key
}

// partKey is the column by which others would refer to a row of a partitioned table, and those with which it is unique.
func (r *relation) partKey(seq string) (key column, with []string) {
	for _, i := range r.indexes {
		for _, name := range []string{"id", seq} {
			if at := slices.Index(i.columns, name); i.unique && at >= 0 && name != "" && key.name == "" && !slices.Contains(i.columns, "") {
				key, with = r.columns[name], slices.Delete(slices.Clone(i.columns), at, at+1)
			}
		}
	}
	return key, with
}

// checkNeighbors warns of tables which aren't in the plan and whose columns' names say that their rows belong to
// what a deletion removes. Foreign keys say it better, and aren't asked here.
func (k *checker) checkNeighbors(ctx context.Context, q Querier) error {
	targets := k.targets()
	var names []string
	for _, t := range targets {
		names = append(names, t.names...)
	}
	keys := k.copied()
	for _, c := range keys {
		names = append(names, c.names...)
	}
	all, err := k.cat.readNeighbors(ctx, q, names)
	if err != nil {
		return err
	}
	for _, f := range k.cat.keys {
		if k.lists(f) {
			k.warn("table %s is not in the plan, and its rows stay: the messages refer to it by foreign key %s with all that says whose conversation it is; if it has a row for each conversation of each user, add conversations: %s",
				f.toName, quote(f.name), k.listing(f))
		}
	}
	if convs := k.convs.rel; convs != nil && has(convs.name, memberWords) && len(keys) > 0 {
		k.doubtLog(convs.String(), func(column string) bool { return anyUser.MatchString(bare(column)) })
	}
	said := 0
	for _, n := range all {
		k.doubtOwner(n, keys)
		if slices.ContainsFunc(k.cat.keys, func(f foreignKey) bool { return f.toName == quote(n.schema, n.name) && k.lists(f) }) {
			continue // and has been said
		}
		text := k.resembles(n, targets, keys)
		if text == "" {
			continue
		}
		if said++; said <= maxNeighbors {
			k.warn("table %s is not in the plan, and its rows stay: %s", quote(n.schema, n.name), text)
		}
	}
	if said > maxNeighbors {
		k.warn("and the same for %s", purge.Count(said-maxNeighbors, "more table"))
	}
	return nil
}

// lists reports whether the messages refer to a table that isn't in the plan with all columns that ids are compared
// with, the user's too: so it has a row for each conversation of each user.
func (k *checker) lists(f foreignKey) bool {
	if !k.at(f.from, "messages") || f.to != nil || k.plan.Conversations.Table != "" || k.plan.binds(k.plan.Messages.ids(), "user") == notAtAll {
		return false
	}
	return len(f.columns) > 1 && !slices.ContainsFunc(k.plan.Messages.ids(), func(c Pair) bool {
		name, _ := parseColumn(c.Column) // validated
		return !slices.Contains(f.columns, name)
	})
}

// listing is the entry of the table that the key refers to.
func (k *checker) listing(f foreignKey) string {
	fields := []string{"table: " + scalar(tableOf(f.toName))}
	var conds []string
	for _, c := range k.plan.Messages.ids() {
		name, _ := parseColumn(c.Column) // validated
		to := scalar(f.refs[slices.Index(f.columns, name)])
		switch c.Value.String() {
		case "$app", "$user", "$conversation":
			fields = append(fields, strings.TrimPrefix(c.Value.String(), "$")+": "+to)
		default:
			conds = append(conds, to+": "+c.Value.String())
		}
	}
	if len(conds) > 0 {
		fields = append(fields, "where: {"+strings.Join(conds, ", ")+"}")
	}
	return "{" + strings.Join(fields, ", ") + "}"
}

// maxNeighbors is how many tables are named.
const maxNeighbors = 20

// doubtOwner warns of a table that lists whose conversations there are, beside messages that may have one row for
// all of them.
func (k *checker) doubtOwner(n neighbor, keys []copied) {
	if !has(n.name, memberWords) || n.shares(keys, k.plan) == "" {
		return
	}
	k.doubtLog(quote(n.schema, n.name), func(string) bool { return true })
}

// doubtLog warns beside a table of members of the messages' column of the user, if it may be the sender's.
func (k *checker) doubtLog(members string, may func(column string) bool) {
	for _, c := range k.plan.Messages.Conditions() {
		if k.plan.binds([]Pair{c}, "user") != notAtAll && may(c.Column) {
			k.warn("messages: table %s lists the users of conversations, so that column %s of the messages may be who sent one, and not whose copy it is; if a message is one row for all members, take user out, and name that table under members",
				members, scalar(c.Column))
			return
		}
	}
}

// anyUser are bare names of columns that don't say whether the user has sent a message or owns it.
var anyUser = regexp.MustCompile(`^(user|member|account|profile|person)(id|name|uid)?$`)

// resembles says why the neighbor's rows may belong to those of the plan, and which entry would remove them; ""
// if nothing speaks for it.
func (k *checker) resembles(n neighbor, targets []target, keys []copied) string {
	for _, t := range targets {
		for _, name := range t.names {
			switch c := n.free(name, t.joins); {
			case c == "":
			case len(t.with) > 0:
				return fmt.Sprintf("by its name, column %s refers to %s of %s, a partitioned table, where that is unique only with %s; if they belong to it, give them columns of that, too, and add to %s: {table: %s, references: {column: %s, to: %s}}",
					quote(c), quote(t.key.name), t.Table, list(t.with), t.place(), n.planned(), scalars(append([]string{c}, t.with...)), scalars(append([]string{t.key.name}, t.with...)))
			default:
				return fmt.Sprintf("by its name, column %s refers to %s of %s; if they belong to it, add to %s: {table: %s, references: {column: %s, to: %s}}",
					quote(c), quote(t.key.name), t.Table, t.place(), n.planned(), scalar(c), scalar(t.key.name))
			}
		}
	}
	if text := n.shares(keys, k.plan); text != "" {
		return text
	}
	if len(targets) == 0 || len(targets[0].with) > 0 {
		return ""
	}
	for i, c := range n.columns {
		of := somethingElse.FindStringSubmatch(bare(c))
		if of == nil || of[2] != "id" || n.tied[i] != "" || !targets[0].joinsAsText(n.types[i]) {
			continue
		}
		kind, value := n.named(of[1]+"type"), scalar(targets[0].class)
		if of[1] == "object" { // Django's, whose type is a number that one looks up
			kind, value = n.named("contenttypeid"), "…"
		}
		if t := targets[0]; kind != "" {
			return fmt.Sprintf("%s and %s name rows of several tables; if some are of %s and go with it, add to %s: {table: %s, where: {%s: %s}, references: {column: %s, to: %s}} with what %[1]s says for it",
				quote(kind), quote(c), t.Table, t.place(), n.planned(), scalar(kind), value, scalar(c), scalar(t.key.name))
		}
	}
	return ""
}

// place is where in the plan a child of the target is added, or what keeps it if it is a parent.
func (t target) place() string {
	switch at := strings.LastIndexByte(t.Path, '.'); {
	case t.Path == "messages":
		return "children"
	case strings.HasPrefix(t.Path[at+1:], "parents[") && t.Seq.Column == "":
		return t.Path + ".kept_by"
	}
	return t.Path + ".children"
}

// joins reports whether a column of the type can refer to the target's key.
func (t target) joins(typ uint32) bool {
	return joinable(column{typ: typ, collation: t.key.collation}, t.key)
}

func (t target) joinsAsText(typ uint32) bool { return t.joins(typ) || isText(column{typ: typ}) }

// planned is the table as a plan writes it.
func (n neighbor) planned() string {
	return scalar(planTable(&relation{schema: n.schema, name: n.name}))
}

// copied are the columns of the messages, or of the conversations, that name whose conversation it is, and the
// position; nil where not all of them are in one table.
func (k *checker) copied() []copied {
	rel := k.relation(k.plan.Messages.Table)
	if rel == nil || k.plan.Messages.Seq.Column == "" {
		return nil
	}
	var out []copied
	for _, c := range k.plan.Messages.ids() {
		name, _ := parseColumn(c.Column) // validated
		out = append(out, copied{rel.columns[name], k.cat.tiedTo(rel, name), []string{bare(name)}})
	}
	if len(out) < 2 || slices.ContainsFunc(out, func(c copied) bool { return c.typ == 0 }) {
		return nil
	}
	seq := rel.columns[k.plan.Messages.Seq.Column]
	if k.plan.Messages.Seq.Unit != "" || !isInteger(seq) || rel.unique(seq.name) {
		seq = column{} // another table's column of that name is something else: its own key, or a time
	}
	var names []string
	if seq.name != "" {
		names = append(names, bare(seq.name))
		if names = append(names, messageNames(rel)...); names[0] == "id" { // which may be another table's own key
			names = append(names[1:], "id")
		}
	}
	return append(out, copied{seq, nil, names})
}

// ids are the entry's conditions on what a command names.
func (e Entry) ids() []Pair {
	return slices.DeleteFunc(e.Conditions(), func(c Pair) bool { return c.Value.Kind != Name })
}

// copied is a column that other tables may have, too.
type copied struct {
	column
	tied  []string // as in neighbor
	names []string // plain ones, under which others have it, the surest first
}

// messageNames are plain names of columns that refer to a message.
func messageNames(rel *relation) []string {
	names := []string{singular(rel.name) + "id", "messageid", "msgid"}
	if all := words(rel.name); len(all) > 1 {
		names = append(names, singular(all[len(all)-1])+"id")
	}
	return names
}

// shares says which entry would remove the rows of a table that has the messages' columns by the same names.
func (n neighbor) shares(keys []copied, p Plan) string {
	if len(keys) == 0 {
		return ""
	}
	own := make([]string, len(keys))
	for i, key := range keys {
		for _, name := range key.names {
			same := key.tied
			if i < len(keys)-1 {
				same = slices.Concat(same, n.scopes(name))
			}
			if own[i] == "" {
				own[i] = n.free(name, func(typ uint32) bool { return typ == key.typ || isInteger(column{typ: typ}) && isInteger(key.column) }, same...)
			}
		}
	}
	seq := own[len(own)-1]
	own = own[:len(own)-1]
	if slices.Contains(own, "") {
		return ""
	}
	var conds []string
	for i, c := range p.Messages.ids() {
		conds = append(conds, scalar(own[i])+": "+c.Value.String())
	}
	where := strings.Join(conds, ", ")
	if seq != "" {
		return fmt.Sprintf("it has the messages' columns %s; if its rows go with them, add to children: {table: %s, where: {%s}, seq: %s}", list(append(own, seq)), n.planned(), where, scalar(seq))
	}
	return fmt.Sprintf("it has the messages' columns %s; if its rows go with the conversation, add to conversations.children: {table: %s, where: {%s}}", list(own), n.planned(), where)
}
