package plan

import (
	"context"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
)

// index is a btree index that the statements could use: valid, and of all rows, or of those of a condition.
type index struct {
	name      string
	columns   []string // in order; "" for an expression, or a column in an order or collation not its own
	ordered   []bool   // the column can be read in its plain order, nulls last
	unique    bool
	immediate bool   // unique at each moment of a transaction, too
	condition string // as SQL writes it; "" for all rows
}

// leads reports whether the index begins with all of the columns, in any order and perhaps with some of constants
// among them, and continues with then, readable in order; "" asks for nothing more.
func (i index) leads(columns, constants []string, then string) bool {
	found := map[string]bool{}
	for n, c := range i.columns {
		if len(found) == len(columns) && (then == "" || c == then && i.ordered[n]) {
			return true
		}
		switch {
		case slices.Contains(columns, c):
			found[c] = true
		case !slices.Contains(constants, c):
			return false
		}
	}
	return len(found) == len(columns) && then == ""
}

// indexed reports whether one of the relation's indexes leads so.
func (r *relation) indexed(columns, constants []string, then string) bool {
	return slices.ContainsFunc(r.indexes, func(i index) bool { return i.leads(columns, constants, then) })
}

// unique reports whether no two rows have the same values in the columns: an index on
// some of them is enough. Tables that inherit from it have keys of their own.
func (r *relation) unique(columns ...string) bool {
	return len(r.heirs) == 0 && slices.ContainsFunc(r.indexes, func(i index) bool {
		return i.unique && !slices.ContainsFunc(i.columns, func(c string) bool { return !slices.Contains(columns, c) })
	})
}

func (c *catalog) readIndexes(ctx context.Context, q Querier, byOID map[uint32]*relation) error {
	rows, err := q.Query(ctx, c.query("indexes"), slices.Collect(maps.Keys(byOID)))
	if err != nil {
		return err
	}
	var oid uint32
	var i index
	_, err = pgx.ForEachRow(rows, []any{&oid, &i.name, &i.unique, &i.immediate, &i.condition, &i.columns, &i.ordered}, func() error {
		found := i
		found.columns, found.ordered = slices.Clone(i.columns), slices.Clone(i.ordered)
		if r := byOID[oid]; i.condition == "" {
			r.indexes = append(r.indexes, found)
		} else {
			r.partial = append(r.partial, found)
		}
		return nil
	})
	return err
}

// foreignKey is one that refers to a table of the plan, or is of one.
type foreignKey struct {
	name             string
	from, to         *relation // nil: a table that was not asked for
	fromName, toName string    // quoted
	onDelete         string    // pg_constraint.confdeltype
	columns, refs    []string
	nullable         []string // the columns that may be null
	sets             []string // the columns that on delete set null or default changes
}

// required reports whether each row has to refer to one.
func (f foreignKey) required() bool { return len(f.nullable) == 0 }

// loses is the column that must become null for a row to lose its reference; "" where it may be another one, too.
func (f foreignKey) loses() string {
	if len(f.nullable) != 1 {
		return ""
	}
	return f.nullable[0]
}

func (c *catalog) readForeignKeys(ctx context.Context, q Querier, byOID map[uint32]*relation) error {
	rows, err := q.Query(ctx, c.query("foreign_keys"), slices.Collect(maps.Keys(byOID)))
	if err != nil {
		return err
	}
	var from, to uint32
	var schema, name, toSchema, toTable string
	var k foreignKey
	_, err = pgx.ForEachRow(rows, []any{&k.name, &from, &schema, &name, &to, &toSchema, &toTable, &k.onDelete, &k.columns, &k.refs, &k.nullable, &k.sets}, func() error {
		found := k
		found.columns, found.refs = slices.Clone(k.columns), slices.Clone(k.refs)
		found.nullable, found.sets = slices.Clone(k.nullable), slices.Clone(k.sets)
		found.from, found.to, found.fromName, found.toName = byOID[from], byOID[to], quote(schema, name), quote(toSchema, toTable)
		c.keys = append(c.keys, found)
		return nil
	})
	return err
}

// collation orders a column of a relation in at least one index, and is of another
// version now than when its indexes were built, as far as the server knows.
type collation struct {
	relation         *relation
	column           string
	name             string // quoted, with its schema; "" for the database's own
	recorded, actual string // recorded is "" where the server keeps no record
}

func (c *catalog) readCollations(ctx context.Context, q Querier, byOID map[uint32]*relation) error {
	rows, err := q.Query(ctx, c.query("collations"), slices.Collect(maps.Keys(c.byOID())))
	if err != nil {
		return err
	}
	var root uint32
	var schema, name string
	var found collation
	_, err = pgx.ForEachRow(rows, []any{&root, &found.column, &schema, &name, &found.recorded, &found.actual}, func() error {
		found.relation, found.name = byOID[root], ""
		if name != "" {
			found.name = quote(schema, name)
		}
		c.collations = append(c.collations, found)
		return nil
	})
	return err
}
