package main

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// childEvery is how many messages there are for each reaction and each attachment.
const childEvery = 10

// withChildren is S4: S3 with reactions and attachments.
func withChildren() scenario {
	return longWithChildren("one conversation with reactions and attachments", func(size sizes) int { return size.WithChildren }, 0.75, "")
}

// withForeignKeys is S4 where reactions and attachments refer to their messages.
func withForeignKeys() scenario {
	return longWithChildren("the same with foreign keys, indexed", func(size sizes) int { return size.WithForeignKeys }, 0.6, childKeys)
}

// childKeys are the foreign keys of a schema that has them; the children's own keys serve as their indexes.
const childKeys = `
alter table chat.reactions add foreign key (app_id, user_id, conversation_id, seq) references chat.messages on delete cascade;
alter table chat.attachments add foreign key (app_id, user_id, conversation_id, seq) references chat.messages on delete cascade`

// longWithChildren is S4 with these foreign keys, and its least share of the bound.
func longWithChildren(title string, n func(sizes) int, share float64, keys string) scenario {
	return scenario{
		id: "S4", title: title, contestants: []contestant{lethe, plain, bound},
		figures: append([]figure{
			{name: figureRows, goals: []goal{{against: bound, sense: atLeast, number: share}, {against: plain}}},
			{name: figureLongest},
			{name: figureSlowdown},
		}, shared()...),
		load: func(ctx context.Context, w *world) error {
			if err := w.loadLong(ctx, n(w.opts.Sizes), n(w.opts.Sizes)/2); err != nil {
				return err
			}
			return w.loadChildren(ctx, keys)
		},
		run: func(ctx context.Context, w *world, who contestant) (sample, error) {
			s, err := w.runLong(ctx, who, n(w.opts.Sizes), n(w.opts.Sizes)/2)
			if err != nil {
				return nil, err
			}
			return s, w.checkChildren(ctx, n(w.opts.Sizes)/2)
		},
		onTheWire: func(ctx context.Context, w *world, who contestant) (sample, error) {
			return w.longest(ctx, who, n(w.opts.Sizes))
		},
	}
}

// loadChildren adds a reaction and an attachment to every childEvery-th message, and then these foreign keys.
func (w *world) loadChildren(ctx context.Context, keys string) error {
	for _, sql := range []string{
		`insert into chat.reactions (app_id, user_id, conversation_id, seq, reactor_id, emoji)
select app_id, user_id, conversation_id, seq, 'peer', 'ok' from chat.messages where seq % $1 = 0`,
		`insert into chat.attachments (app_id, user_id, conversation_id, seq, attachment_id, object_key, bytes)
select app_id, user_id, conversation_id, seq, gen_random_uuid(), 'objects/' || md5(seq::text), 12345 from chat.messages where seq % $1 = 0`,
	} {
		if err := w.exec(ctx, sql, childEvery); err != nil {
			return fmt.Errorf("load: %w", err)
		}
	}
	_, err := w.conn.PgConn().Exec(ctx, keys).ReadAll()
	return err
}

// checkChildren checks that the child rows of others, and no more, have stayed.
func (w *world) checkChildren(ctx context.Context, others int) error {
	for _, child := range []string{"reactions", "attachments"} {
		if err := w.checkCount(ctx, child+" of others", others/childEvery, "select count(*) from chat."+child); err != nil {
			return err
		}
	}
	return nil
}

// deleteWithChildren is the bound of S4: all in one transaction, as fast as the
// database can. The children go first, or keys that refer to messages would have
// to look for them.
func (w *world) deleteWithChildren(ctx context.Context, n int) error {
	return pgx.BeginFunc(ctx, w.conn, func(tx pgx.Tx) error {
		for _, table := range []string{"reactions", "attachments", "messages"} {
			tag, err := tx.Exec(ctx, "delete from chat."+table+" where app_id = $1 and user_id = $2 and conversation_id = $3 and seq <= $4",
				benchApp, longUser, longChat, n)
			if err != nil {
				return err
			}
			want := n
			if table != "messages" {
				want /= childEvery
			}
			if tag.RowsAffected() != int64(want) {
				return fmt.Errorf("wrong result: %d %s deleted; want %d", tag.RowsAffected(), table, want)
			}
		}
		return nil
	})
}
