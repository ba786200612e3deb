// Command presence hands a user's events to the devices that are connected here, as a presence service does:
//
//	presence APP USER CURSOR_FILE DEVICE...
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "presence:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) < 4 {
		return errors.New("expected APP USER CURSOR_FILE DEVICE [DEVICE ...]")
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
	client, err := conversation.NewClient(nc)
	if err != nil {
		return err
	}
	s := session{app: args[0], user: args[1], file: args[2], devices: args[3:]}
	if s.cursor, err = s.confirmed(); err != nil {
		return err
	}
	return follow(ctx, client, s)
}

// follow hands over what a user's devices have missed, and then what is new.
func follow(ctx context.Context, client *conversation.Client, s session) error {
	feed, err := client.Follow(ctx, s.app, s.user, conversation.WithAfter(s.cursor))
	if errors.Is(err, conversation.ErrCursorExpired) {
		feed, err = client.Follow(ctx, s.app, s.user) // from now on
		s.reload()                                    // what was missed is gone: the devices load their lists
	}
	if err != nil {
		return err
	}
	defer feed.Close()
	for {
		event, err := feed.Next(ctx) // a repeated event comes once
		if err != nil {
			return err
		}
		for _, device := range s.devices {
			if isFor(event, device) {
				s.send(device, event)
			}
		}
		if err := s.confirm(event.Sequence); err != nil { // after handing over: what is lost before comes again
			return err
		}
	}
}

// isFor reports whether a device of the user is told of an event.
func isFor(e conversation.Event, device string) bool {
	switch {
	case e.Deleted != nil: // if another member asked, that was on none of these devices
		another := e.Deleted.Scope == conversation.ScopeEveryone && e.Deleted.RequestedBy != e.Deleted.UserID
		return another || e.Deleted.MultiClientSync || e.Deleted.OriginDeviceID == device
	case e.AllDeleted != nil:
		return e.AllDeleted.MultiClientSync || e.AllDeleted.OriginDeviceID == device
	}
	return e.Failed != nil && e.Failed.OriginDeviceID == device // at erased a device has nothing to do
}

// session is a user's devices that are connected here.
type session struct {
	app, user string
	devices   []string
	file      string // keeps the cursor
	cursor    uint64 // the sequence of the last event that was handed over; a real service has one for each device
}

// confirmed is the cursor of an earlier run, 0 at first: then all that the stream keeps is handed over.
func (s session) confirmed() (uint64, error) {
	text, err := os.ReadFile(s.file)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(string(text), 10, 64)
}

func (s session) confirm(seq uint64) error {
	if seq == 0 { // progress, which isn't stored
		return nil
	}
	return os.WriteFile(s.file, strconv.AppendUint(nil, seq, 10), 0o600)
}

// send and reload print what a real service sends to the device.
func (s session) send(device string, e conversation.Event) {
	var body any
	switch {
	case e.Deleted != nil:
		body = e.Deleted
	case e.AllDeleted != nil:
		body = e.AllDeleted
	case e.Failed != nil:
		body = e.Failed
	}
	text, _ := json.Marshal(body) // what came from JSON
	fmt.Println(device, e.Type, string(text))
}

func (s session) reload() {
	for _, device := range s.devices {
		fmt.Println(device, "reload")
	}
}
