// Command gateway publishes one deletion, as a gateway does when a user asks for it:
//
//	gateway APP USER DEVICE CONVERSATION THROUGH_SEQ [COMMAND_ID]
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gateway:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) < 5 {
		return errors.New("expected APP USER DEVICE CONVERSATION THROUGH_SEQ [COMMAND_ID]")
	}
	app, user, device, id, commandID := args[0], args[1], args[2], args[3], conversation.NewCommandID()
	if len(args) > 5 {
		commandID = args[5]
	}
	shown, err := strconv.ParseInt(args[4], 10, 64)
	if err != nil {
		return err
	}
	options := []nats.Option{nats.MaxReconnects(-1)}
	if prefix := os.Getenv("NATS_INBOX_PREFIX"); prefix != "" { // each user of deploy/nats has one of its own
		options = append(options, nats.CustomInboxPrefix(prefix))
	}
	nc, err := nats.Connect(os.Getenv("NATS_URL"), options...)
	if err != nil {
		return err
	}
	defer nc.Close()

	client, err := conversation.NewClient(nc) // github.com/lethe-im/lethe/conversation
	if err != nil {
		return err
	}
	cmd := conversation.Command{
		CommandID: commandID, // kept with the user's request: published again, it is still one deletion
		AppID:     app, UserID: user, DeviceID: device,
		Conversations: []conversation.Target{{ID: id, ThroughSeq: &shown}}, // the greatest seq that the device showed
		RequestedAt:   time.Now(),
	}
	receipt, err := client.Delete(ctx, cmd)
	for wait := time.Second; passes(err) && wait <= 8*time.Second; wait *= 2 {
		fmt.Fprintf(os.Stderr, "gateway: %v: publishing %s again in %v\n", err, commandID, wait)
		time.Sleep(wait)
		receipt, err = client.Delete(ctx, cmd)
	}
	if err != nil {
		return err
	}
	fmt.Printf("stored %s in %s at %d\n", receipt.CommandID, receipt.Stream, receipt.Sequence)
	return nil
}

// passes reports whether it helps to publish again: no answer came, or the stream takes no more until workers have
// finished some commands.
func passes(err error) bool {
	return errors.Is(err, conversation.ErrUnconfirmed) || errors.Is(err, conversation.ErrAppFull) || errors.Is(err, conversation.ErrStreamFull)
}
