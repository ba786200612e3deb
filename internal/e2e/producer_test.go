package e2e

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
)

// ask is a command of a new id for these conversations of c's owner.
func (c chat) ask(more ...string) conversation.Command {
	cmd := conversation.Command{CommandID: conversation.NewCommandID(), AppID: c.app, UserID: c.user}
	for _, id := range append([]string{c.id}, more...) {
		cmd.Conversations = append(cmd.Conversations, conversation.Target{ID: id})
	}
	return cmd
}

// through is a command for c with a boundary.
func (c chat) through(seq int64) conversation.Command {
	cmd := c.ask()
	cmd.Conversations[0].ThroughSeq = &seq
	return cmd
}

// send publishes a command as producers do.
func (r *rig) send(t testing.TB, cmd conversation.Command) conversation.Receipt {
	t.Helper()
	receipt, err := r.client.Delete(t.Context(), cmd)
	if err != nil {
		t.Fatalf("publish: %v", err)
	}
	return receipt
}

// again publishes a command by its bytes, and returns its sequence.
func (r *rig) again(t testing.TB, cmd conversation.Command) uint64 {
	t.Helper()
	return r.publish(t, r.names.CommandSubject(cmd.AppID), encode(t, cmd))
}

// encode writes a command as JSON.
func encode(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// publish stores bytes on a subject, with headers in pairs of name and value, and
// returns their sequence in the stream of commands.
func (r *rig) publish(t testing.TB, subject string, data []byte, headers ...string) uint64 {
	t.Helper()
	m := &nats.Msg{Subject: subject, Data: data, Header: nats.Header{}}
	for i := 0; i+1 < len(headers); i += 2 {
		m.Header[headers[i]] = append(m.Header[headers[i]], headers[i+1])
	}
	ack, err := r.js.PublishMsg(t.Context(), m, jetstream.WithExpectStream(r.names.CommandsStream()))
	if err != nil {
		t.Fatalf("publish %d bytes on %q: %v", len(data), subject, err)
	}
	return ack.Sequence
}

// storedAt is when the stream stored the command at seq, which must still be
// there.
func (r *rig) storedAt(t testing.TB, seq uint64) string {
	t.Helper()
	m, found := r.streamMessage(t, r.names.CommandsStream(), seq)
	if !found {
		t.Fatalf("command %d is not in the stream", seq)
	}
	return m.at.UTC().Format(time.RFC3339Nano)
}
