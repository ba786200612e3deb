package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/lethe-im/lethe/conversation"
)

// device is one client of a user, with what it was told.
type device struct {
	id       string
	deleted  []conversation.Deleted
	progress int // messages of type conversation.deleting
}

// presence tells one user's devices what the events say. Progress doesn't name
// the device that asked, so that a presence service that forwards it remembers
// who sent which command.
type presence struct {
	feed    *conversation.Feed
	devices []*device
	askedBy map[string]string // command to device
}

// follow begins to listen for a user: whoever waits for an event follows first
// and deletes then.
func follow(ctx context.Context, client *conversation.Client, user string, devices ...*device) (*presence, error) {
	feed, err := client.Follow(ctx, app, user)
	if err != nil {
		return nil, err
	}
	return &presence{feed: feed, devices: devices, askedBy: map[string]string{}}, nil
}

// until forwards events until the end of a command of one conversation. It
// returns what was said, and who was told.
func (p *presence) until(ctx context.Context, command string) (conversation.Deleted, []*device, error) {
	for {
		e, err := p.feed.Next(ctx)
		if err != nil {
			return conversation.Deleted{}, nil, errors.Join(err, context.Cause(ctx))
		}
		told := p.audience(e)
		for _, d := range told {
			d.receive(e)
		}
		switch {
		case e.CommandID() != command || e.Deleted == nil && e.Failed == nil:
			continue // of another command, or not the end
		case e.Failed != nil:
			return conversation.Deleted{}, told, fmt.Errorf("%s: %s: %s", e.Failed.ConversationID, e.Failed.Reason, e.Failed.Message)
		}
		return *e.Deleted, told, nil
	}
}

// audience is the rule of multi-client sync: with the app's switch on, the end of
// a deletion is for all of the user's devices; otherwise, and for progress and
// failures always, it is for the device that asked.
func (p *presence) audience(e conversation.Event) []*device {
	origin := p.askedBy[e.CommandID()]
	switch {
	case e.Deleted != nil && e.Deleted.MultiClientSync:
		return p.devices
	case e.Deleted != nil:
		origin = e.Deleted.OriginDeviceID
	case e.Failed != nil:
		origin = e.Failed.OriginDeviceID
	}
	for _, d := range p.devices {
		if d.id == origin {
			return []*device{d}
		}
	}
	return nil // it is of a device that has gone
}

// receive is where a real device drops its copy up to Deleted.ThroughSeq, and
// keeps what is newer.
func (d *device) receive(e conversation.Event) {
	switch {
	case e.Deleted != nil:
		d.deleted = append(d.deleted, *e.Deleted)
	case e.Deleting != nil:
		d.progress++
	}
}
