package plan

import (
	"context"
	"embed"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template"

	"github.com/jackc/pgx/v5"
)

// catalog is what Postgres's catalog holds about the tables that were asked for.
type catalog struct {
	server
	relations  map[tableName]*relation // without those that don't exist
	keys       []foreignKey            // all that refer to one of the relations, or are of one
	collations []collation             // whose version has changed, or isn't known
}

// server is what concerns no table alone.
type server struct {
	role       string // the connection's, quoted
	searchPath string
	version    int // as server_version_num: 150004
	database   string
	encoding   string // the database's
	// locks is how many locks fit into the server's table, of all sessions together,
	// and locksEach how many of them max_locks_per_transaction counts for each.
	locks, locksEach int
	// zone is the time zone of sessions that set none, and zones are those of the
	// roles that set another; without what is UTC by another name.
	zone  string
	zones []string
	// commitTriggers says that triggers may fire at the commit, of any table: what one writes may fire another.
	commitTriggers bool
}

// relation is a row of pg_class, with what a purge needs to know of it.
type relation struct {
	oid          uint32
	schema, name string
	kind         string   // pg_class.relkind
	partitioned  bool     // its rows are in tables that inherit from it
	rowSecurity  bool     // active for our role
	rules        []string // enabled ones for update or delete
	granted      grants
	columns      map[string]column
	readable     map[string]bool // columns that may be selected, the server's own (ctid) included
	indexes      []index
	partial      []index     // of some rows
	parts        []part      // the relation and all that inherit from it
	heirs        []*relation // those of a table that isn't partitioned: neither keys nor indexes are theirs, too
}

// grants are what our role may do with a table; updates and reads are on one
// column at least.
type grants struct {
	usage, selects, reads, inserts, updates, deletes bool
}

// column is a row of pg_attribute. The zero value stands for one that is missing.
type column struct {
	name          string
	typ           uint32 // pg_type.oid of the type below any domains
	typeName      string // as SQL writes it
	max           int    // varchar(n); 0 for none
	digits        int    // of a second's fraction that a timestamp keeps: 0 to 6
	notNull       bool   // by the column or its domain, or by a valid check
	preset        string // the default, as SQL writes it; "" for none
	collation     uint32
	deterministic bool // two different texts are never equal
	generated     bool
	updatable     bool     // granted
	labels        []string // of an enum
}

func (r *relation) String() string { return quote(r.schema, r.name) }

// columnNamed is a column; the zero value if there is none, or no relation.
func (r *relation) columnNamed(name string) column {
	if r == nil {
		return column{}
	}
	return r.columns[name]
}

// columnNames are the relation's columns for people, in alphabetical order.
func (r *relation) columnNames() []string { return slices.Sorted(maps.Keys(r.columns)) }

//go:embed sql/*.sql
var sqlFiles embed.FS

var queries = template.Must(template.New("").ParseFS(sqlFiles, "sql/*.sql"))

// query is a statement of the catalog for the server's version.
func (c *catalog) query(name string) string {
	var b strings.Builder
	if err := queries.ExecuteTemplate(&b, name+".sql", c.version); err != nil {
		panic("BUG: " + name + ".sql: " + err.Error())
	}
	return b.String()
}

// readCatalog reads all that the checks need. The transaction of q sees one moment and
// takes no lock that others wait for.
func readCatalog(ctx context.Context, q Querier, names []tableName) (*catalog, error) {
	c := &catalog{relations: map[tableName]*relation{}}
	if err := c.read(ctx, q, names); err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	return c, nil
}

func (c *catalog) read(ctx context.Context, q Querier, names []tableName) error {
	err := q.QueryRow(ctx, c.query("server")).Scan(&c.role, &c.searchPath, &c.version, &c.database, &c.encoding, &c.locks, &c.locksEach, &c.zone, &c.zones, &c.commitTriggers)
	if err != nil || c.version < oldestServer {
		return err // the caller refuses an older one
	}
	if err := c.readRelations(ctx, q, names); err != nil {
		return fmt.Errorf("tables: %w", err)
	}
	byOID := c.byOID()
	for _, read := range []struct {
		what string
		from func(context.Context, Querier, map[uint32]*relation) error
	}{
		{"foreign keys", c.readForeignKeys},
		{"partitions, triggers and publications", c.readParts}, // which adds tables to byOID
		{"columns", c.readColumns},
		{"grants", c.readReadable},
		{"indexes", c.readIndexes},
		{"collations", c.readCollations},
	} {
		if err := read.from(ctx, q, byOID); err != nil {
			return fmt.Errorf("%s: %w", read.what, err)
		}
	}
	return nil
}

// readRelations fills relations. Two names of one table get one relation.
func (c *catalog) readRelations(ctx context.Context, q Querier, names []tableName) error {
	schemas, tables := make([]string, len(names)), make([]string, len(names))
	for i, n := range names {
		schemas[i], tables[i] = n.schema, n.name
	}
	rows, err := q.Query(ctx, c.query("relations"), schemas, tables)
	if err != nil {
		return err
	}
	seen := map[uint32]*relation{}
	var ord int
	var r relation
	_, err = pgx.ForEachRow(rows, []any{
		&ord, &r.oid, &r.schema, &r.name, &r.kind, &r.partitioned, &r.granted.usage, &r.granted.selects, &r.granted.reads,
		&r.granted.inserts, &r.granted.updates, &r.granted.deletes, &r.rowSecurity, &r.rules,
	}, func() error {
		if seen[r.oid] == nil {
			found := r
			found.rules = slices.Clone(r.rules)
			found.columns, found.readable = map[string]column{}, map[string]bool{}
			seen[r.oid] = &found
		}
		c.relations[names[ord-1]] = seen[r.oid]
		return nil
	})
	return err
}

func (c *catalog) byOID() map[uint32]*relation {
	m := map[uint32]*relation{}
	for _, r := range c.relations {
		m[r.oid] = r
	}
	return m
}

func (c *catalog) readColumns(ctx context.Context, q Querier, byOID map[uint32]*relation) error {
	rows, err := q.Query(ctx, c.query("columns"), slices.Collect(maps.Keys(byOID)))
	if err != nil {
		return err
	}
	var oid uint32
	var col column
	_, err = pgx.ForEachRow(rows, []any{
		&oid, &col.name, &col.typ, &col.typeName, &col.max, &col.digits, &col.notNull, &col.preset, &col.collation, &col.deterministic,
		&col.generated, &col.updatable, &col.labels,
	}, func() error {
		found := col
		found.labels = slices.Clone(col.labels)
		byOID[oid].columns[col.name] = found
		return nil
	})
	return err
}

// readReadable finds the columns that our role may select, by a grant on the
// table or on the column alone.
func (c *catalog) readReadable(ctx context.Context, q Querier, byOID map[uint32]*relation) error {
	rows, err := q.Query(ctx, c.query("readable"), slices.Collect(maps.Keys(byOID)))
	if err != nil {
		return err
	}
	var oid uint32
	var name string
	_, err = pgx.ForEachRow(rows, []any{&oid, &name}, func() error {
		byOID[oid].readable[name] = true
		return nil
	})
	return err
}
