package repo

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/internal/purge"
)

// TrialAll is what a command for all conversations of a user would do now.
type TrialAll struct {
	// Conversations would each be a deletion, Large of them with at least as many messages as were asked for.
	Conversations, Large int64
	// Messages is how many would go, or become hidden in a shared log, and Tables are the sums over all conversations.
	Messages int64
	Tables   []TrialTable
}

// TryAll is [Repo.Try] for all conversations of the user of d, one after the other.
func (r *Repo) TryAll(ctx context.Context, d purge.Deletion, large int64) (out *TrialAll, err error) {
	lists, err := r.lists(d)
	if err != nil {
		return nil, err
	}
	out = &TrialAll{}
	for _, l := range lists {
		s := (&trial{r: r}).statement("list_conversations", sqlArgs{List: l, Ledgerless: true})
		for after := ""; ; {
			var page []string
			var last string
			n := 0
			t := r.begin(false)
			t.query(func(rows pgx.Rows) error {
				var part bool
				if err := rows.Scan(&last, &part); err != nil {
					return err
				}
				if n++; part {
					page = append(page, last)
				}
				return nil
			}, s, argsOf(d).with(args{"after": after, "limit": tryAllPage}))
			if err := t.commit(ctx); err != nil {
				return nil, classifyShared(ctx, err)
			}
			for _, id := range page {
				if err := out.add(ctx, r, d, id, large); err != nil {
					return nil, err
				}
			}
			if n < tryAllPage {
				break
			}
			after = last
		}
	}
	return out, nil
}

// tryAllPage is how many conversations a transaction lists.
const tryAllPage = 500

// add tries the deletion of one conversation.
func (out *TrialAll) add(ctx context.Context, r *Repo, d purge.Deletion, id string, large int64) error {
	d.Conversation = id
	one, err := r.Try(ctx, d)
	if err != nil {
		return err
	}
	messages := one.Messages
	if one.Log != nil {
		messages = one.Log.Hidden
	}
	out.Conversations++
	out.Messages += messages
	if one.Messages >= large {
		out.Large++
	}
	if out.Tables == nil {
		out.Tables = one.Tables
		return nil
	}
	for i, t := range one.Tables {
		sum := &out.Tables[i]
		sum.Deleted, sum.Updated, sum.Kept, sum.Bytes = sum.Deleted+t.Deleted, sum.Updated+t.Updated, sum.Kept+t.Kept, sum.Bytes+t.Bytes
		sum.Estimated = sum.Estimated || t.Estimated
	}
	return nil
}
