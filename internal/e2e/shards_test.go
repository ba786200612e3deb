package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// newShards are rigs with a database each, on one nats-server.
func newShards(t *testing.T, names ...string) []*rig {
	t.Helper()
	server := localtest.NATS(t, localstack.NATSOptions{})
	rigs := make([]*rig, len(names))
	for i, name := range names {
		rigs[i] = newRig(t, onServer(server), inShard(name))
	}
	return rigs
}

func TestEachShardHasItsCommandsAndItsDatabase(t *testing.T) {
	t.Parallel()
	both := newShards(t, "eu", "us-1")
	c := chat{"demo", "alice", "c2c_bob"} // of the same name in both
	for _, r := range both {
		r.fill(t, c, 40)
	}
	eu, us := both[0], both[1]
	worker := eu.start(t, "LOG_FORMAT=json")
	us.start(t)
	us.must(t, "send", "--app=demo", "--user=alice", "--conversation=c2c_bob", "--command-id=one", "--wait")
	us.wantLeft(t, c, nothing)
	if got := eu.left(t, c).Messages; got != 40 {
		t.Errorf("a command for us-1 has left %d messages in eu; want all 40", got)
	}
	// The same command for the other shard is another deletion: of a copy that lies there.
	eu.must(t, "send", "--app=demo", "--user=alice", "--conversation=c2c_bob", "--command-id=two", "--wait")
	eu.wantLeft(t, c, nothing)
	if out := us.call(t, "status", "two"); out.code == 0 {
		t.Errorf("the ledger of us-1 knows a command of eu: %s", out.out)
	}
	for _, r := range both {
		r.settled(t)
		info, err := r.streamInfo(t, r.names.CommandsStream())
		if err != nil {
			t.Fatal(err)
		}
		root := "conversation.shard." + string(r.names.Shard()) + ".delete"
		if got := fmt.Sprint(info.Config.Subjects); got != fmt.Sprintf("[%s %s.* %s_everyone.*]", root, root, root) {
			t.Errorf("%s has the subjects %s", info.Config.Name, got)
		}
	}
	if _, err := eu.streamInfo(t, conversation.CommandsStream); err == nil {
		t.Error("setup of shards has made the stream of a database without a name")
	}
	if out := eu.must(t, "setup", "--check"); strings.Contains(out, "WRONG") || !strings.Contains(out, "CONVERSATION_COMMANDS_EU") {
		t.Errorf("setup --check prints\n%s", out)
	}
	_, metrics := worker.get(t, "/metrics")
	for line := range strings.Lines(metrics) {
		if !strings.HasPrefix(line, "#") && !strings.Contains(line, `shard="eu"`) {
			t.Errorf("a metric without its shard: %s", line)
		}
	}
	for line := range strings.Lines(worker.log.String()) {
		if !strings.Contains(line, `"shard":"eu"`) {
			t.Errorf("a line of the log without its shard: %s", line)
		}
	}
}

// A command that has come to a shard where its user's messages don't lie says so, and so
// does whoever gives a shard another one's database.
func TestAWrongShardIsNotSilent(t *testing.T) {
	t.Parallel()
	r := newShards(t, "eu")[0]
	w := r.start(t)
	known, unknown := chat{"demo", "alice", "g"}, chat{"demo", "bob", "g"}
	r.fill(t, known, 10)
	for _, c := range []chat{known, unknown} {
		cmd := c.ask()
		r.send(t, cmd)
		r.deleted(t, cmd.CommandID, c.id)
		note := objects(t, r.must(t, "status", cmd.CommandID, "--json"))[0]["note"]
		if says := note != nil; says != (c == unknown) {
			t.Errorf("status of %s's deletion has the note %v", c.user, note)
		}
	}
	if _, metrics := w.get(t, "/metrics"); !strings.Contains(metrics, `lethe_deletions_unknown_total{shard="eu"} 1`) {
		t.Error("want one unknown deletion in the metrics")
	}
	if log := w.log.String(); strings.Count(log, "neither a message nor the conversation's row") != 1 || !strings.Contains(log, "user=bob") {
		t.Error("want one warning in the log, about bob")
	}
	for _, words := range [][]string{
		{"setup"}, {"run", "HTTP_ADDR=127.0.0.1:0"}, {"status", "x"}, {"pause"}, {"resume"}, {"settings", "get", "--app=demo"}, {"replay", "--since=2026-01-01T00:00:00Z"},
	} {
		res := r.call(t, append(words, "LETHE_SHARD=us")...)
		if res.code == 0 || !strings.Contains(res.err, "the database is shard eu, expected shard us") {
			t.Errorf("%v for another shard: exit status %d, %s", words, res.code, res.err)
		}
	}
	if res := r.call(t, "status", "x", "--shard=US"); res.code != 2 || !strings.Contains(res.err, "expected a-z, 0-9 or a hyphen") {
		t.Errorf("--shard=US: exit status %d, %s", res.code, res.err)
	}
}

func TestADeadLetterNamesItsShardAndGoesBackThere(t *testing.T) {
	t.Parallel()
	both := newShards(t, "eu", "us-1")
	eu, us := both[0], both[1]
	for _, r := range both {
		r.start(t, "--max-attempts=1")
	}
	// Both commands have sequence 1 in their streams.
	seq := us.publish(t, us.names.CommandSubject("demo"), []byte("malformed"))
	us.letter(t, seq)
	c := chat{"demo", "alice", "g"}
	eu.fill(t, c, 10)
	mend := eu.breakDeletes(t, c)
	cmd := c.ask()
	if eu.send(t, cmd).Sequence != seq {
		t.Fatal("the commands of two shards have different sequences")
	}
	eu.failed(t, cmd.CommandID, c.id)
	eu.settled(t)
	shards := map[string]string{}
	for _, m := range eu.letters(t) {
		shards[m.header.Get("Lethe-Shard")] = m.header.Get("Lethe-Subject")
	}
	if want := map[string]string{"eu": "conversation.shard.eu.delete.demo", "us-1": "conversation.shard.us-1.delete.demo"}; fmt.Sprint(shards) != fmt.Sprint(want) {
		t.Errorf("letters by shard: %v; want %v", shards, want)
	}
	if got := us.letterSeqs(t); fmt.Sprint(got) != "[1]" {
		t.Errorf("with --shard us-1, the list has %v; want its letter alone", got)
	}
	if out := us.must(t, "dead-letters", "list", "LETHE_SHARD="); !strings.Contains(out, "SHARD") || strings.Count(out, " eu ") != 1 || strings.Count(out, " us-1 ") != 1 {
		t.Errorf("listed for people without --shard:\n%s", out)
	}
	if got := us.letterSeqs(t, "LETHE_SHARD="); len(got) != 2 {
		t.Errorf("without --shard, the list has %v; want both", got)
	}
	mend()
	us.must(t, "dead-letters", "retry", "2") // eu's, from wherever
	if es := eu.awaitStored(t, 2, of(cmd.CommandID, c.id)); es[1].kind() != conversation.TypeDeleted {
		t.Errorf("after the retry: %v; want it deleted", es[1])
	}
	eu.wantLeft(t, c, nothing)
	eu.must(t, "dead-letters", "drop", "--all", "--yes")
	if got := us.letterSeqs(t); fmt.Sprint(got) != "[1]" {
		t.Errorf("after drop --all of eu: %v; want the letter of us-1", got)
	}
	if out := eu.call(t, "dead-letters", "drop"); out.code == 0 {
		t.Error("the shard alone chooses no letters to drop")
	}
}

// The procedure of docs/sharding.md, "From one to several": commands keep coming.
func TestAnInstallationBecomesAShardWithoutLosingACommand(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	old := r.start(t, "--max-attempts=1")
	held := chat{"demo", "held", "g"}
	r.fill(t, held, 10)
	mend := r.breakDeletes(t, held)
	failed := held.ask()
	r.letter(t, r.send(t, failed).Sequence)

	var sent []conversation.Command
	send := func() {
		for range 20 {
			c := chat{"demo", fmt.Sprintf("user%d", len(sent)), "c2c_bob"}
			r.fill(t, c, 3)
			cmd := c.ask()
			r.send(t, cmd)
			sent = append(sent, cmd)
		}
	}
	send()
	r.must(t, "setup", "--shard=eu")
	send()
	r.start(t, "--shard=eu")
	send()
	// What was one subject's is the shard's from here on: no producer has to change.
	if err := r.nats.Server().GlobalAccount().AddMapping("conversation.delete.*", "conversation.shard.eu.delete.{{wildcard(1)}}"); err != nil {
		t.Fatal(err)
	}
	send()
	r.settled(t) // the old stream
	if info, err := r.streamInfo(t, "CONVERSATION_COMMANDS_EU"); err != nil || info.State.LastSeq == 0 {
		t.Fatalf("the shard's stream has got no command: %+v, %v", info, err)
	}
	old.term(t)
	must(t, r.js.DeleteStream(t.Context(), conversation.CommandsStream))
	send()
	// The same command again, by the shard's own subject: the ledger knows it.
	r.names = r.names.InShard("eu")
	again := sent[0]
	r.send(t, again)
	mend()
	r.must(t, "dead-letters", "retry", "--all") // goes to the old subject, and by the mapping to the shard
	r.settled(t)
	for _, cmd := range sent {
		id := cmd.Conversations[0].ID
		wantFields(t, r.deleted(t, cmd.CommandID, id), "messages_deleted", 3)
		r.onlyDeleted(t, cmd.CommandID, id)
	}
	r.wantLeft(t, held, nothing)
	if n := one[int](t, r, `select count(*)::int from chat.messages`); n != 0 {
		t.Errorf("%d messages are left; want none", n)
	}
}
