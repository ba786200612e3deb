package gateway

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// GroupsShard is the shard of the groups whose members share one log, where Config.Databases
// has it: see examples/chat/groups.
const GroupsShard = "groups"

// sharedPrefix begins the ids of shared groups.
const sharedPrefix = "shared_"

// groupMembers are who is in a shared group of the demo. A real gateway asks its membership
// service.
var groupMembers = []string{"alice", "bob"}

// groups is schema groups, as a gateway uses it. A member reads what is above their
// watermark in lethe.watermarks, which the workers keep.
type groups struct{ db *pgxpool.Pool }

// groups returns the database of the shared groups, false where there is none.
func (g *Gateway) groups() (groups, bool) {
	db := g.Databases[GroupsShard]
	return groups{db}, db != nil
}

// shared reports whether an id is that of a shared group.
func (g *Gateway) shared(id string) bool {
	_, ok := g.groups()
	return ok && strings.HasPrefix(id, sharedPrefix)
}

// membersWithWatermarks are the rows of members, and where each has deleted their group
// through: w.cleared_through, null where they never have.
const membersWithWatermarks = `groups.members m
left join lethe.watermarks w on w.app_id = m.app_id and w.user_id = m.user_id and w.conversation_id = m.group_id`

// list returns the groups in which a member has something to read.
func (s groups) list(ctx context.Context, app, user string) ([]summary, error) {
	rows, err := s.db.Query(ctx, `
select m.group_id, newest.seq, m.unread_count, newest.sent_at, g.owner_id = m.user_id
from `+membersWithWatermarks+`
join groups.groups g on g.app_id = m.app_id and g.group_id = m.group_id
cross join lateral (
  select n.seq, n.sent_at from groups.messages n
  where n.app_id = m.app_id and n.group_id = m.group_id and n.seq > coalesce(w.cleared_through, 0)
  order by n.seq desc limit 1) newest
where m.app_id = $1 and m.user_id = $2
order by newest.sent_at desc
limit 1000`, app, user)
	if err != nil {
		return nil, err
	}
	return pgx.AppendRows([]summary{}, rows, pgx.RowToStructByPos[summary])
}

// messages returns a page of what a member may read. The watermark is read once, and the
// index on messages begins there.
func (s groups) messages(ctx context.Context, app, user, id string, p page) ([]message, error) {
	rows, err := s.db.Query(ctx, `
select * from (
  select seq, sender_id, sent_at, coalesce(body->>'text', '')
  from groups.messages
  where app_id = $1 and group_id = $3 and seq < $5
    and seq > greatest($4, (select cleared_through from lethe.watermarks where app_id = $1 and user_id = $2 and conversation_id = $3))
    and exists (select from groups.members where app_id = $1 and group_id = $3 and user_id = $2)
  order by seq `+p.order()+`
  limit $6) part
order by seq`, app, user, id, p.after, p.before, p.limit)
	if err != nil {
		return nil, err
	}
	return pgx.AppendRows([]message{}, rows, pgx.RowToStructByPos[message])
}

// newest returns the newest seq of each of the member's groups that has messages, whether
// or not the member has deleted them: the boundary of a deletion.
func (s groups) newest(ctx context.Context, app, user string, ids []string) (map[string]int64, error) {
	rows, err := s.db.Query(ctx, `
select m.group_id, (
  select seq from groups.messages n
  where n.app_id = m.app_id and n.group_id = m.group_id
  order by seq desc limit 1)
from groups.members m
where m.app_id = $1 and m.user_id = $2 and m.group_id = any($3)`, app, user, ids)
	if err != nil {
		return nil, err
	}
	return newestOf(rows)
}

// owns reports whether the user is the owner of all these groups.
func (s groups) owns(ctx context.Context, app, user string, ids []string) (bool, error) {
	var n int
	err := s.db.QueryRow(ctx, `
select count(*) from groups.groups where app_id = $1 and owner_id = $2 and group_id = any($3)`, app, user, ids).Scan(&n)
	return n == len(ids), err
}

// write stores one row for all members, and returns who they are. The group's row stays
// locked until the commit, so that messages become visible in the order of their seqs. The
// sender of the first message is the owner.
func (s groups) write(ctx context.Context, m copies, id string) (places []place, sentAt time.Time, err error) {
	err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		seq, err := takeSeqs(ctx, tx, m.app, id, m.sender, 1)
		if err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `
update groups.members set unread_count = unread_count + (user_id <> $3)::int
where app_id = $1 and group_id = $2 returning user_id, group_id, $4::bigint`, m.app, id, m.sender, seq)
		if err != nil {
			return err
		}
		if places, err = pgx.CollectRows(rows, toPlace); err != nil {
			return err
		}
		if !slices.ContainsFunc(places, func(p place) bool { return p.owner == m.sender }) {
			return errNotMember
		}
		return tx.QueryRow(ctx, `
insert into groups.messages (app_id, group_id, seq, sender_id, body) values ($1, $2, $3, $4, jsonb_build_object('text', $5::text))
returning sent_at`, m.app, id, seq, m.sender, m.text).Scan(&sentAt)
	})
	return places, sentAt, err
}

// takeSeqs takes the next n seqs of a group, and returns the last of them. A group that isn't
// there is made, with the user as its owner.
func takeSeqs(ctx context.Context, tx pgx.Tx, app, id, user string, n int64) (last int64, err error) {
	if err := tx.QueryRow(ctx, `
insert into groups.groups as g (app_id, group_id, owner_id, last_seq) values ($1, $2, $3, $4)
on conflict (app_id, group_id) do update set last_seq = g.last_seq + excluded.last_seq
returning last_seq`, app, id, user, n).Scan(&last); err != nil {
		return 0, err
	}
	if last == n {
		_, err = tx.Exec(ctx, `
insert into groups.members (app_id, group_id, user_id) select $1, $2, unnest($3::text[])`, app, id, groupMembers)
	}
	return last, err
}

func toPlace(row pgx.CollectableRow) (p place, err error) {
	return p, row.Scan(&p.owner, &p.conversation, &p.seq)
}

// stored is what the database has of a group, and how much of it each member reads.
type stored struct {
	Rows    int64    `json:"rows"`
	Members []member `json:"members"`
}

type member struct {
	User  string `json:"user"`
	Reads int64  `json:"reads"`
}

// stored counts. It is for the demo: nobody counts a long history on each look.
func (s groups) stored(ctx context.Context, app, id string) (stored, error) {
	found := stored{Members: []member{}}
	if err := s.db.QueryRow(ctx, `
select count(*) from groups.messages where app_id = $1 and group_id = $2`, app, id).Scan(&found.Rows); err != nil {
		return found, err
	}
	rows, err := s.db.Query(ctx, `
select m.user_id, case when w.cleared_through is null then $3 else (
  select count(*) from groups.messages n
  where n.app_id = m.app_id and n.group_id = m.group_id and n.seq > w.cleared_through) end
from `+membersWithWatermarks+`
where m.app_id = $1 and m.group_id = $2
order by m.user_id`, app, id, found.Rows)
	if err != nil {
		return found, err
	}
	found.Members, err = pgx.AppendRows(found.Members, rows, pgx.RowToStructByPos[member])
	return found, err
}

// groupRows serves GET /v1/demo/rows.
func (g *Gateway) groupRows(r *request) error {
	in, ok := g.groups()
	if !ok {
		return errNoRoute
	}
	id := r.URL.Query().Get("group")
	if !g.shared(id) {
		return badRequest("group: expected " + sharedPrefix + "<group>")
	}
	found, err := in.stored(r.Context(), r.who.App, id)
	if err != nil {
		return fmt.Errorf("rows: %w", cleanText(err))
	}
	return r.answer(http.StatusOK, found)
}

// historyMost bounds what one request adds, some seconds.
const historyMost = 1_000_000

// groupHistory serves POST /v1/demo/history: it gives a shared group a past, unless it has
// messages, so that there is something to see when its rows are erased.
func (g *Gateway) groupHistory(r *request) error {
	in, ok := g.groups()
	if !ok {
		return errNoRoute
	}
	var body struct {
		Group    string `json:"group"`
		Messages int64  `json:"messages"`
	}
	if err := r.body(&body); err != nil {
		return err
	}
	if !g.shared(body.Group) || body.Messages < 1 || body.Messages > historyMost {
		return badRequest(fmt.Sprintf("expected a group %s<group>, and a number of messages from 1 to %d", sharedPrefix, historyMost))
	}
	added, err := in.fill(r.Context(), r.who.App, body.Group, r.who.User, body.Messages)
	if err != nil {
		return fmt.Errorf("history: %w", cleanText(err))
	}
	return r.answer(http.StatusOK, map[string]int64{"added": added})
}

// fill adds n messages, a minute apart, up to a day ago, to a group that has none. The user
// owns the group if it is new.
func (s groups) fill(ctx context.Context, app, id, user string, n int64) (added int64, err error) {
	if !slices.Contains(groupMembers, user) {
		return 0, errNotMember
	}
	err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		last, err := takeSeqs(ctx, tx, app, id, user, n)
		if err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `
insert into groups.messages (app_id, group_id, seq, sender_id, sent_at, body)
select $1, $2, seq, ($5::text[])[1 + seq % cardinality($5::text[])], now() - interval '1 day' - ($3 - seq) * interval '1 minute',
  jsonb_build_object('text', 'Older message ' || to_char(seq - $3 + $4, 'FM999,999,999'))
from generate_series($3::bigint - $4::bigint + 1, $3) seq
where not exists (select from groups.messages where app_id = $1 and group_id = $2)`, app, id, last, n, groupMembers)
		added = tag.RowsAffected()
		return err
	})
	return added, err
}
