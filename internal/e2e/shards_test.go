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
		info, err := r.streamInfo(t, r.shard.CommandsStream())
		if err != nil {
			t.Fatal(err)
		}
		root := "conversation.shard." + string(r.shard) + ".delete"
		if got := fmt.Sprint(info.Config.Subjects); got != fmt.Sprintf("[%s %s.*]", root, root) {
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

func TestADeadLetterNamesItsShardAndGoesBackThere(t *testing.T) {
	t.Parallel()
	both := newShards(t, "eu", "us-1")
	eu, us := both[0], both[1]
	for _, r := range both {
		r.start(t, "--max-attempts=1")
	}
	// Both commands have sequence 1 in their streams.
	seq := us.publish(t, us.shard.CommandSubject("demo"), []byte("malformed"))
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
