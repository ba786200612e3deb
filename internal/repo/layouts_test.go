package repo

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lethe-im/lethe/internal/localstack/localtest"
	"github.com/lethe-im/lethe/internal/plan"
	"github.com/lethe-im/lethe/internal/purge"
)

// foreignKey is one in a layout's schema, with what it does when the row that it refers to is deleted. The reference of a message to another
// stays as it is: with another action newer messages would go too, or keep older ones.
var foreignKey = regexp.MustCompile(`references ("?\w+"?)( \("?\w+"?\))?( on delete [a-z]+( null)?)?( on update cascade)?( deferrable initially deferred)?`)

// foreignKeyActions are what a foreign key may do.
var foreignKeyActions = []string{"", "on delete restrict", "on delete cascade", "on delete set null", "deferrable initially deferred"}

// withForeignKeys is a layout's schema with other foreign keys.
func withForeignKeys(schema, action string) string {
	lines := strings.Split(schema, "\n")
	for i, line := range lines {
		if !strings.Contains(line, "reply_to_id") {
			lines[i] = foreignKey.ReplaceAllString(line, "references $1$2 "+action)
		}
	}
	return strings.Join(lines, "\n")
}

// Whatever the foreign keys of a layout's tables do on delete, and however large a batch is, the same rows go: from
// the parents' side nothing happens by itself, and nothing is in the way.
func TestLayoutsWithForeignKeysOfEachKind(t *testing.T) {
	t.Parallel()
	for _, l := range localtest.Layouts {
		if !foreignKey.MatchString(l.Schema(t)) {
			continue
		}
		for _, action := range foreignKeyActions {
			t.Run(l.Name+"/"+strings.ReplaceAll("no action "+action, " ", "_"), func(t *testing.T) {
				t.Parallel()
				url := newLedger(t)
				pool, err := pgxpool.New(context.WithoutCancel(t.Context()), url)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(pool.Close)
				tables := l.Create(t, pool, withForeignKeys(l.Schema(t), action))
				p, err := plan.Parse([]byte(l.Plan(t)))
				if err != nil {
					t.Fatal(err)
				}
				r := openRepo(t, Config{URL: url, Plan: p})
				for i, limit := range []int{1000, 3} {
					for u, user := range l.Users {
						id := l.IDs[u][i]
						seqs := tables.Seqs(t, "public", user, id)
						through := seqs[len(seqs)*2/3]
						d := purge.Deletion{
							Key: purge.Key{App: l.App, Command: fmt.Sprint(user, id), User: user, Conversation: id}, ThroughSeq: &through, StoredAt: time.Now(), Token: tokens(),
							Digest: purge.DigestOf(purge.Content{User: user, Targets: []purge.Target{{Conversation: id, ThroughSeq: &through}}}),
						}
						want := int64(0)
						for _, seq := range seqs {
							if seq <= through {
								want++
							}
						}
						if rec := carryOut(t, r, d, limit); rec.State != purge.Done || rec.MessagesDeleted != want {
							t.Errorf("record = %+v; want %d messages deleted", rec, want)
						}
						tables.ByHand(t, user, id, through, "forget", "leave")
					}
				}
				tables.Compare(t, false)
			})
		}
	}
}
