package conversation_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
)

// exampleConn connects to a server with the streams, as `worker setup` leaves it.
func exampleConn() (nc *nats.Conn, stop func()) {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	s, err := server.NewServer(&server.Options{DontListen: true, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true})
	if err != nil {
		log.Fatal(err)
	}
	s.Start()
	nc, err = nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		log.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		log.Fatal(err)
	}
	for _, cfg := range []jetstream.StreamConfig{
		{Name: conversation.CommandsStream, Subjects: []string{"conversation.delete", "conversation.delete.*"}, Retention: jetstream.WorkQueuePolicy},
		{Name: conversation.EventsStream, Subjects: []string{"conversation.deleted.*.*", "conversation.delete_failed.*.*"}, AllowDirect: true},
	} {
		if _, err := js.CreateStream(context.Background(), cfg); err != nil {
			log.Fatal(err)
		}
	}
	return nc, func() {
		nc.Close()
		s.Shutdown()
		s.WaitForShutdown()
		_ = os.RemoveAll(dir)
	}
}

// pretendWorker tells the end of the deletion.
func pretendWorker(nc *nats.Conn, e conversation.Deleted) {
	msg, err := e.Msg(conversation.Trace{})
	if err == nil {
		err = nc.PublishMsg(msg)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// A gateway publishes what the user asked for. Sending the same id again is safe.
func ExampleClient_Delete() {
	nc, stop := exampleConn()
	defer stop()

	client, err := conversation.NewClient(nc)
	if err != nil {
		log.Fatal(err)
	}
	newest := int64(1200) // what the device showed when the user pressed delete
	cmd := conversation.Command{
		CommandID: conversation.NewCommandID(), // keep it, and send it again when in doubt
		AppID:     "demo", UserID: "alice", DeviceID: "alice-phone",
		Conversations: []conversation.Target{{ID: "c2c_bob"}, {ID: "group_42", ThroughSeq: &newest}},
		RequestedAt:   time.Now(),
	}
	for range 2 {
		receipt, err := client.Delete(context.Background(), cmd)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("stored at %d\n", receipt.Sequence)
	}
	// Output:
	// stored at 1
	// stored at 2
}

// Whoever waits for the end follows first and deletes then.
func ExampleClient_Follow() {
	nc, stop := exampleConn()
	defer stop()

	client, err := conversation.NewClient(nc)
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	feed, err := client.Follow(ctx, "demo", "alice")
	if err != nil {
		log.Fatal(err)
	}
	defer feed.Close()
	receipt, err := client.Delete(ctx, conversation.Command{
		AppID: "demo", UserID: "alice", Conversations: []conversation.Target{{ID: "c2c_bob"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	pretendWorker(nc, conversation.Deleted{
		CommandID: receipt.CommandID, AppID: "demo", UserID: "alice", ConversationID: "c2c_bob",
		ThroughSeq: 20, MessagesDeleted: 20, ConversationRemoved: true, CompletedAt: time.Now(),
	})
	for {
		event, err := feed.Next(ctx)
		if err != nil {
			log.Fatal(err)
		}
		if event.CommandID() != receipt.CommandID {
			continue // another of alice's commands
		}
		switch {
		case event.Deleting != nil:
			fmt.Println("up to", event.Deleting.PurgedThroughSeq)
		case event.Deleted != nil:
			fmt.Println("deleted", event.Deleted.MessagesDeleted, "up to", event.Deleted.ThroughSeq)
			return
		case event.Failed != nil:
			fmt.Println("failed:", event.Failed.Reason, event.Failed.Message)
			return
		}
	}
	// Output: deleted 20 up to 20
}

// Decode names the field, what was wrong and what was expected.
func ExampleDecode() {
	_, err := conversation.Decode([]byte(`{
		"command_id": "1", "app_id": "demo", "user_id": "alice",
		"conversations": [{"id": "c2c_bob"}, {"id": "group_42", "through_seq": "1200"}]
	}`))
	fmt.Println(err)
	// Output: conversations[1].through_seq: is a string; expected an integer from 0 to 9223372036854775807, in digits only
}

// Any id can be a token of a subject.
func ExampleEscapeToken() {
	fmt.Println(conversation.EscapeToken("team.a/*"))
	fmt.Println(conversation.CommandSubject("team.a"))
	// Output:
	// team%2Ea%2F%2A
	// conversation.delete.team%2Ea
}

// A presence service with a consumer of its own reads the events so.
func ExampleParseEvent() {
	msg, err := conversation.Deleted{
		CommandID: "1", AppID: "demo", UserID: "alice", ConversationID: "c2c_bob", ThroughSeq: 20,
		OriginDeviceID: "alice-phone", MultiClientSync: false, CompletedAt: time.Now(),
	}.Msg(conversation.Trace{})
	if err != nil {
		log.Fatal(err)
	}

	event, err := conversation.ParseEvent(msg.Subject, msg.Header, msg.Data)
	if err != nil {
		log.Fatal(err)
	}
	if d := event.Deleted; d != nil {
		if d.MultiClientSync {
			fmt.Println("tell all devices of", d.UserID)
		} else {
			fmt.Println("tell", d.OriginDeviceID)
		}
	}
	// Output: tell alice-phone
}

// A presence service with a consumer of its own names the stream and the subjects of an
// installation with a prefix, and reads events by names.ParseEvent.
func ExampleNewNames() {
	names, err := conversation.NewNames("acme.chat")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(names.EventsStream())
	fmt.Println(names.Subject("conversation.*.demo.*"))
	// Output:
	// ACME_CHAT_CONVERSATION_EVENTS
	// acme.chat.conversation.*.demo.*
}
