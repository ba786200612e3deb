package gateway

import (
	"context"
	"slices"
)

// shardOf returns where a user's messages lie; "" where only one database has no name.
func (c *Config) shardOf(app, user string) string {
	if shard, ok := c.Shards[app+"/"+user]; ok {
		return shard
	}
	return c.Shards[app]
}

// storeOf returns the database of a user's messages.
func (g *Gateway) storeOf(app, user string) store {
	if db := g.Databases[g.shardOf(app, user)]; db != nil {
		return store{db}
	}
	return g.store
}

// stores are all databases.
func (g *Gateway) stores() []store {
	all := []store{g.store}
	for _, db := range g.Databases {
		all = append(all, store{db})
	}
	return all
}

// part is what of a message goes to one database.
type part struct {
	store
	copies
}

// spread splits a message by its owners' databases. Each part is a transaction of its own:
// after a crash in between, a copy is missing. A gateway that must not lose one keeps the
// message in the first database until all have it.
func (g *Gateway) spread(m copies) (parts []*part) {
	for _, p := range m.places {
		s := g.storeOf(m.app, p.owner)
		i := slices.IndexFunc(parts, func(p *part) bool { return p.store == s })
		if i < 0 {
			i, parts = len(parts), append(parts, &part{s, copies{app: m.app, sender: m.sender, text: m.text}})
		}
		parts[i].places = append(parts[i].places, p)
	}
	return parts
}

// switchAll sets the app's switch in all databases: workers read it in their own.
func (g *Gateway) switchAll(ctx context.Context, app string, on bool) error {
	for _, s := range g.stores() {
		if err := s.setMultiClientSync(ctx, app, on); err != nil {
			return err
		}
	}
	return nil
}
