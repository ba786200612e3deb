package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/examples/chat/gateway"
	"github.com/lethe-im/lethe/examples/chat/groups"
)

const (
	sharedGroup    = "shared_allotment"
	sharedMessages = 50_000
)

// sharedGroups is a second database, where the members of a group share one log, with a
// worker: each has one plan.
type sharedGroups struct {
	database string // its address
	db       *pgxpool.Pool
	worker   *program
}

// startGroups sets the second database up and runs a worker there.
func (s *stack) startGroups() (*sharedGroups, error) {
	g := &sharedGroups{}
	var err error
	if g.database, g.db, err = s.newDatabase(); err != nil {
		return nil, err
	}
	plan := filepath.Join(s.guard.folder, "plan.yaml")
	if err := os.WriteFile(plan, groups.Plan, 0o600); err != nil {
		return nil, err
	}
	if _, err := g.db.Exec(s.ctx, groups.Schema); err != nil {
		return nil, fmt.Errorf("create the shared groups' tables: %w", err)
	}
	variables := []string{"DATABASE_URL=" + g.database, "LETHE_SHARD=" + gateway.GroupsShard, "LETHE_PLAN=" + plan}
	if err := s.callWith(variables, "setup"); err != nil {
		return nil, err
	}
	g.worker, err = s.runWorker(variables)
	return g, err
}

// fillGroup writes a history of two members.
const fillGroup = `
with made as (insert into groups.groups (app_id, group_id, owner_id, last_seq) values ($1, $2, $3, $5)),
in_it as (insert into groups.members (app_id, group_id, user_id, unread_count) values ($1, $2, $3, 0), ($1, $2, $4, 0))
insert into groups.messages (app_id, group_id, seq, sender_id, sent_at, body)
select $1, $2, n, $3, now() - interval '1 hour', '{"text": "Who has watered the beans?"}' from generate_series(1, $5::bigint) n`

// sharedLog deletes a shared group for one member, and then for the other.
func (s *story) sharedLog() error {
	s.out.step(fmt.Sprintf("A group of %s messages that two members share: one row for both", number(sharedMessages)))
	began := time.Now()
	g, err := s.startGroups()
	if err != nil {
		return err
	}
	s.shared = g
	s.out.say(fmt.Sprintf("worker run --shard=%s --plan=…, process %d", gateway.GroupsShard, g.worker.cmd.Process.Pid), "ready in "+lasted(time.Since(began)))
	if _, err := g.db.Exec(s.ctx, fillGroup, app, sharedGroup, erin, frank, sharedMessages); err != nil {
		return err
	}
	client, err := conversation.NewClient(s.nc, conversation.WithShard(func(conversation.Command) string { return gateway.GroupsShard }))
	if err != nil {
		return err
	}
	ctx, cancel := s.limited()
	defer cancel()
	feeds := map[string]*conversation.Feed{}
	for _, user := range []string{erin, frank} {
		if feeds[user], err = client.Follow(ctx, app, user); err != nil {
			return err
		}
		defer feeds[user].Close()
	}
	if err := s.hide(ctx, client, feeds[erin], erin); err != nil {
		return err
	}
	if s.sharedAfterOne, err = g.rows(ctx); err != nil {
		return err
	}
	s.out.say(fmt.Sprintf("%s still reads it: the database has %s rows", frank, number(s.sharedAfterOne)))
	began = time.Now()
	if err := s.hide(ctx, client, feeds[frank], frank); err != nil {
		return err
	}
	for _, user := range []string{erin, frank} {
		if err := s.erased(ctx, feeds[user], user); err != nil {
			return err
		}
	}
	s.out.say(fmt.Sprintf("%s and %s are notified that the rows are erased", erin, frank), "after "+lasted(time.Since(began)))
	return g.worker.stop()
}

// hide deletes the group for one member, at once, however long it is.
func (s *story) hide(ctx context.Context, client *conversation.Client, feed *conversation.Feed, user string) error {
	began := time.Now()
	if _, err := client.Delete(ctx, deletion(user, user+"-phone", sharedGroup, sharedMessages)); err != nil {
		return err
	}
	e, err := feed.Next(ctx)
	switch {
	case err != nil:
		return errors.Join(err, context.Cause(ctx))
	case e.Deleted == nil || e.Deleted.MessagesDeleted != sharedMessages:
		return fmt.Errorf("%s received %s of %s, with another number of messages", user, e.Type, e.ConversationID())
	}
	s.out.say(fmt.Sprintf("%s deletes it: %s are hidden", user, count(e.Deleted.MessagesDeleted, "message")), "after "+lasted(time.Since(began)))
	return nil
}

// erased waits until a member is notified that the rows are erased.
func (s *story) erased(ctx context.Context, feed *conversation.Feed, user string) error {
	e, err := feed.Next(ctx)
	if err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	if e.Erased == nil {
		return fmt.Errorf("%s received %s of %s; expected that it is erased", user, e.Type, e.ConversationID())
	}
	s.toldErased++
	return nil
}

// rows counts what the database has of the group.
func (g *sharedGroups) rows(ctx context.Context) (int64, error) {
	return one[int64](ctx, g.db, `select count(*) from groups.messages where app_id = $1 and group_id = $2`, app, sharedGroup)
}

func (s *story) verifyShared() ([]check, error) {
	left, err := s.shared.rows(s.ctx)
	if err != nil {
		return nil, err
	}
	return []check{
		equal("shared group's rows after one member's delete", sharedMessages, s.sharedAfterOne),
		equal("shared group's rows after both members' deletes", 0, left),
		equal("members who were notified that they are erased", 2, s.toldErased),
	}, nil
}
