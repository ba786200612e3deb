package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/lethe-im/lethe/conversation"
)

// A schema of somebody's own, whose keys are numbers and UUIDs.
const ownSchema = `
create schema own;
create table own.posts (owner bigint, thread uuid, n int, at timestamptz default now(), primary key (owner, thread, n));
create table own.members (owner bigint, thread uuid, primary key (owner, thread));
insert into own.posts (owner, thread, n) select 7, t::uuid, i from generate_series(1, 10) i, (values ('6ba7b810-9dad-11d1-80b4-00c04fd430c8'), ('00000000-0000-0000-0000-000000000001')) v (t);
insert into own.members select distinct owner, thread from own.posts;`

const ownPlan = `
tenant: solo
messages: {table: own.posts, user: owner, conversation: thread, seq: n, sent_at: at}
conversations: {table: own.members, user: owner, conversation: thread}
`

// writePlan is the path of a file with the plan.
func writePlan(t testing.TB, plan string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plan.yaml")
	if err := os.WriteFile(path, []byte(plan), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAnIDThatCannotBeAKeyIsIncompatible(t *testing.T) {
	t.Parallel()
	r := newRig(t, withSchema(ownSchema))
	r.start(t, "--plan="+writePlan(t, ownPlan))
	const good, other = "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "00000000-0000-0000-0000-000000000001"

	whole := map[string]conversation.Command{
		"a user that is no number":      chat{"solo", "alice", good}.ask(),
		"a user beyond bigint":          chat{"solo", "9223372036854775808", good}.ask(),
		"an empty-looking user":         chat{"solo", " ", good}.ask(),
		"an app that is not the plan's": chat{"demo", "7", good}.ask(),
	}
	for name, cmd := range whole {
		seq := r.again(t, cmd)
		e := r.awaitStored(t, 1, of(cmd.CommandID))[0]
		wantFields(t, e, "reason", "incompatible_id")
		wantLetter(t, r.letter(t, seq), cmd.AppID, "incompatible_id", "conversation.delete."+cmd.AppID, "", encode(t, cmd))
		if n := one[int](t, r, `select count(*)::int from own.posts`); n != 20 {
			t.Errorf("%s: %d posts are left; want all", name, n)
		}
	}

	// In a bulk command the other conversations go.
	c := chat{"solo", "7", "not-a-uuid"}
	cmd := c.ask(good, "6ba7b810-9dad-11d1-80b4-00c04fd430c", "group_42")
	seq := r.again(t, cmd)
	wantFields(t, r.deleted(t, cmd.CommandID, good), "messages_deleted", 10, "through_seq", 10, "conversation_removed", true)
	for _, id := range []string{"not-a-uuid", "group_42", "6ba7b810-9dad-11d1-80b4-00c04fd430c"} {
		wantFields(t, r.failed(t, cmd.CommandID, id), "reason", "incompatible_id", "conversation_id", id)
	}
	wantLetter(t, r.letter(t, seq), "solo", "incompatible_id", "conversation.delete.solo", "", encode(t, cmd))

	next := chat{"solo", "7", other}.ask()
	r.again(t, next)
	wantFields(t, r.deleted(t, next.CommandID, other), "messages_deleted", 10)
	if n := one[int](t, r, `select (select count(*) from own.posts)::int + (select count(*) from own.members)::int`); n != 0 {
		t.Errorf("%d rows are left; want none", n)
	}
}

func TestTheDeadLetterHasTheReasonOfTheFirstFailure(t *testing.T) {
	t.Parallel()
	r := newRig(t, withSchema(ownSchema+`
		create function own.refuse() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$;
		create trigger refuse before delete on own.posts for each row when (old.thread = '00000000-0000-0000-0000-000000000001') execute function own.refuse();`))
	r.start(t, "--max-attempts=2", "--plan="+writePlan(t, ownPlan))
	const fine, broken = "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "00000000-0000-0000-0000-000000000001"
	cmd := chat{"solo", "7", broken}.ask("no-uuid", fine)
	seq := r.again(t, cmd)
	wantFields(t, r.failed(t, cmd.CommandID, broken), "reason", "attempts_exhausted")
	wantFields(t, r.failed(t, cmd.CommandID, "no-uuid"), "reason", "incompatible_id")
	wantFields(t, r.deleted(t, cmd.CommandID, fine), "messages_deleted", 10)
	wantLetter(t, r.letter(t, seq), "solo", "incompatible_id", "conversation.delete.solo", "", encode(t, cmd))
}
