package gateway

import (
	"context"
	"crypto/sha256"
	_ "embed" // for keys.sql
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lethe-im/lethe/conversation"
)

// maxKey bounds an Idempotency-Key, in bytes.
const maxKey = 255

var errKeyReused = refuse(http.StatusUnprocessableEntity, "key_reused", "this Idempotency-Key was used for another request")

// command completes a command. With an Idempotency-Key it is the one of the
// first request with that key, boundary and all: a message that came in since
// must not make another deletion of it, which the workers would refuse.
func (g *Gateway) command(r *request, cmd conversation.Command) (conversation.Command, error) {
	key := r.Header.Get("Idempotency-Key")
	if len(key) > maxKey {
		return cmd, badRequest(fmt.Sprintf("Idempotency-Key: is longer than %d bytes", maxKey))
	}
	if key == "" {
		cmd.CommandID = conversation.NewCommandID()
		return cmd, g.bound(r.Context(), &cmd)
	}
	asked, err := fingerprint(cmd)
	if err != nil {
		return cmd, err
	}
	cmd.CommandID = commandID(cmd.AppID, cmd.UserID, key)
	if err := g.bound(r.Context(), &cmd); err != nil {
		return cmd, err
	}
	first, err := g.storeOf(cmd.AppID, cmd.UserID).remember(r.Context(), key, asked, cmd)
	if err != nil {
		return cmd, fmt.Errorf("idempotency key: %w", cleanText(err))
	}
	if first.request != asked {
		return cmd, errKeyReused
	}
	return first.command, nil
}

// commandID is the command's id for an Idempotency-Key: the same for the same
// key of the same user, and nobody else's.
func commandID(app, user, key string) string {
	h := sha256.New()
	for _, part := range []string{app, user, key} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return "key-" + hex.EncodeToString(h.Sum(nil)[:16])
}

// fingerprint is what was asked for, but for the time.
func fingerprint(cmd conversation.Command) (string, error) {
	asked := []any{cmd.DeviceID, cmd.Conversations, cmd.KeepHistory}
	if cmd.AllConversations || cmd.KeepConversation || cmd.Scope != "" {
		asked = append(asked, cmd.AllConversations, cmd.KeepConversation, cmd.Scope)
	}
	text, err := json.Marshal(asked)
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), err
}

// remembered is a request with a key and its command.
type remembered struct {
	request string
	command conversation.Command
}

// rememberKey keeps the first request of a key, and returns it. On the way it
// drops some keys that are as old as what the workers remember of a command.
const rememberKey = `
with old as (
  delete from gateway.idempotency_keys where (app_id, user_id, key) in (
    select app_id, user_id, key from gateway.idempotency_keys
    where created_at < now() - interval '30 days' order by created_at limit 10 for update skip locked))
insert into gateway.idempotency_keys as k (app_id, user_id, key, request, command) values ($1, $2, $3, $4, $5)
on conflict (app_id, user_id, key) do update set request = k.request
returning request, command`

// remember returns the first request with this key, which may be this one.
func (s store) remember(ctx context.Context, key, asked string, cmd conversation.Command) (remembered, error) {
	var first remembered
	put := func() error {
		return s.db.QueryRow(ctx, rememberKey, cmd.AppID, cmd.UserID, key, asked, cmd).Scan(&first.request, &first.command)
	}
	err := put()
	if undefined(err) {
		if err = s.createKeys(ctx); err == nil {
			err = put()
		}
	}
	return first, err
}

//go:embed keys.sql
var keysSQL string

// createKeys runs keys.sql, one at a time: "if not exists" alone lets two that
// race fail.
func (s store) createKeys(ctx context.Context) error {
	_, err := s.db.Exec(ctx, "select pg_advisory_xact_lock(hashtextextended('gateway.idempotency_keys', 0));\n"+keysSQL)
	if err != nil {
		return fmt.Errorf("create it with examples/chat/gateway/keys.sql: %w", err)
	}
	return nil
}

// undefined reports whether the table or its schema isn't there.
func undefined(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "42P01" || pg.Code == "3F000")
}
