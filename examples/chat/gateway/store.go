package gateway

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// store is the schema chat, as a gateway uses it. Everything is found by a
// primary key, which begins with the copy's owner.
type store struct{ db *pgxpool.Pool }

// summary is one line of a user's list.
type summary struct {
	ID          string    `json:"id"`
	LastSeq     int64     `json:"last_seq"`
	UnreadCount int       `json:"unread_count"`
	UpdatedAt   time.Time `json:"updated_at"`
	Owner       bool      `json:"owner,omitempty"` // of a shared group: the user may delete it for everyone
}

// list returns a user's conversations, the newest first.
func (s store) list(ctx context.Context, app, user string) ([]summary, error) {
	rows, err := s.db.Query(ctx, `
select conversation_id, last_seq, unread_count, updated_at, false
from chat.conversations
where app_id = $1 and user_id = $2
order by updated_at desc, conversation_id
limit 1000`, app, user)
	if err != nil {
		return nil, err
	}
	return pgx.AppendRows([]summary{}, rows, pgx.RowToStructByPos[summary])
}

// message is one message of an owner's copy.
type message struct {
	Seq      int64     `json:"seq"`
	SenderID string    `json:"sender_id"`
	SentAt   time.Time `json:"sent_at"`
	Text     string    `json:"text"`
}

// page is a part of a conversation.
type page struct {
	after, before int64 // exclusive
	newest        bool  // the last ones of the part, not the first
	limit         int64
}

// order is the one in which a page is read.
func (p page) order() string {
	if p.newest {
		return "desc"
	}
	return "asc"
}

// reader is where one user's histories are read.
type reader interface {
	// messages returns a page, the oldest message first.
	messages(ctx context.Context, app, user, id string, p page) ([]message, error)
	// newest returns the newest seq of each of the conversations that has messages.
	newest(ctx context.Context, app, user string, ids []string) (map[string]int64, error)
}

func (s store) messages(ctx context.Context, app, user, id string, p page) ([]message, error) {
	rows, err := s.db.Query(ctx, `
select * from (
  select seq, sender_id, sent_at, coalesce(body->>'text', '')
  from chat.messages
  where app_id = $1 and user_id = $2 and conversation_id = $3 and seq > $4 and seq < $5
  order by seq `+p.order()+`
  limit $6) part
order by seq`, app, user, id, p.after, p.before, p.limit)
	if err != nil {
		return nil, err
	}
	return pgx.AppendRows([]message{}, rows, pgx.RowToStructByPos[message])
}

func (s store) newest(ctx context.Context, app, user string, ids []string) (map[string]int64, error) {
	rows, err := s.db.Query(ctx, `
select id, (
  select seq from chat.messages
  where app_id = $1 and user_id = $2 and conversation_id = id
  order by seq desc limit 1)
from unnest($3::text[]) id`, app, user, ids)
	if err != nil {
		return nil, err
	}
	return newestOf(rows)
}

// newestOf collects rows of an id and its newest seq, null where there is none.
func newestOf(rows pgx.Rows) (map[string]int64, error) {
	newest := map[string]int64{}
	var id string
	var seq *int64
	_, err := pgx.ForEachRow(rows, []any{&id, &seq}, func() error {
		if seq != nil {
			newest[id] = *seq
		}
		return nil
	})
	return newest, err
}

// copies are a message on its way to the copies of all who have the conversation.
type copies struct {
	app, sender, text string
	places            []place // sorted by owner
}

// place is where one owner's copy goes. Each has its own name for the
// conversation, and its own seq.
type place struct {
	owner, conversation string
	seq                 int64 // set by write
}

// writeCopy writes one copy: it takes the next seq of the owner's counter, which
// no deletion touches, so that none is used twice.
const writeCopy = `
with counter as (
  insert into chat.counters as c (app_id, user_id, last_seq) values ($1, $2, 1)
  on conflict (app_id, user_id) do update set last_seq = c.last_seq + 1
  returning last_seq),
message as (
  insert into chat.messages (app_id, user_id, conversation_id, seq, sender_id, sent_at, body)
  select $1, $2, $3, last_seq, $4, now(), jsonb_build_object('text', $5::text) from counter)
insert into chat.conversations as c (app_id, user_id, conversation_id, last_seq, unread_count, updated_at)
select $1, $2, $3, last_seq, $6::int, now() from counter
on conflict (app_id, user_id, conversation_id) do update
set last_seq = excluded.last_seq, unread_count = c.unread_count + excluded.unread_count, updated_at = excluded.updated_at
returning last_seq, updated_at`

// write stores all copies or none. Every writer takes the owners' counters in the
// same order, so that no two wait for each other.
func (s store) write(ctx context.Context, m copies) (sentAt time.Time, err error) {
	err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		for i, p := range m.places {
			unread := 1
			if p.owner == m.sender {
				unread = 0
			}
			row := tx.QueryRow(ctx, writeCopy, m.app, p.owner, p.conversation, m.sender, m.text, unread)
			if err := row.Scan(&m.places[i].seq, &sentAt); err != nil {
				return err
			}
		}
		return nil
	})
	return sentAt, err
}

// multiClientSync returns the app's switch; off for an app that has no row.
func (s store) multiClientSync(ctx context.Context, app string) (bool, error) {
	var on bool
	err := s.db.QueryRow(ctx, `select coalesce((select multi_client_sync from lethe.apps where app_id = $1), false)`, app).Scan(&on)
	return on, err
}

// setMultiClientSync is `worker settings set`.
func (s store) setMultiClientSync(ctx context.Context, app string, on bool) error {
	_, err := s.db.Exec(ctx, `
insert into lethe.apps (app_id, multi_client_sync) values ($1, $2)
on conflict (app_id) do update set multi_client_sync = excluded.multi_client_sync`, app, on)
	return err
}
