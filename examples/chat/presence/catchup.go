package presence

import (
	"context"
	"errors"

	"github.com/lethe-im/lethe/conversation"
)

// catchUp tells a device what it missed and makes it live. Old events are read
// from the stream, by direct get; the newest come from the hub's memory, since the
// replica that answers a direct get may be a moment behind. The device joins the
// hub only at a moment at which it has all that the hub has: until then no live
// event can overtake, and afterwards none can be missed.
func (s *Service) catchUp(ctx context.Context, d *device, from place) error {
	now := s.hub.standing()
	d.cursor, d.epoch = now.position, or(from.epoch, now.epoch)
	if from.cursor != nil {
		d.cursor = *from.cursor
	}
	// A device that is interrupted here comes back with what hello said: the cursor, and the epoch that it belongs to.
	err := d.send(helloFrame(d.cursor, d.epoch))
	if err == nil && d.epoch == now.epoch && d.cursor > now.position { // of an instance that is ahead, or of another stream
		err = s.replay(ctx, d, d.cursor)
	}
	for err == nil {
		newer, lacks := s.hub.join(d)
		switch {
		case errors.Is(lacks, errAnotherStream):
			err = s.startOver(d)
		case errors.Is(lacks, errOlderEvents):
			err = s.replay(ctx, d, s.hub.standing().floor)
		case len(newer) > 0:
			err = s.tellAll(ctx, d, newer)
		default:
			return nil
		}
	}
	return err
}

// replay tells a device the stored events after its cursor and up to through.
// Where the stream has lost some of them the device begins anew.
func (s *Service) replay(ctx context.Context, d *device, through uint64) error {
	if d.cursor == 0 { // by which Missed means all that is kept
		stream, err := s.feed.js.Stream(ctx, conversation.EventsStream)
		if err != nil {
			return err
		}
		if stream.CachedInfo().State.FirstSeq > 1 {
			return s.startOver(d)
		}
	}
	for e, err := range s.client.Missed(ctx, s.App, d.user, d.cursor, through) {
		switch {
		case errors.Is(err, conversation.ErrCursorExpired):
			return s.startOver(d)
		case err != nil:
			return err
		}
		ev, err := newEvent(e)
		if err != nil {
			s.Log.DebugContext(ctx, "event skipped", "sequence", e.Sequence, "error", err) // warned of when it came
			continue
		}
		if err := s.tellAll(ctx, d, []event{s.audiences.address(ev)}); err != nil {
			return err
		}
	}
	d.cursor = max(d.cursor, through)
	return nil
}

// tellAll sends events at once. The device hasn't joined: nobody else writes.
func (s *Service) tellAll(ctx context.Context, d *device, events []event) error {
	for _, ev := range events {
		err := ctx.Err()
		if err == nil && ev.open && ev.seq > d.cursor {
			ev, err = s.search(ctx, ev)
		}
		if err != nil {
			return err
		}
		if !d.wants(ev) {
			continue
		}
		if err := d.send(ev.frame); err != nil {
			return err
		}
	}
	return nil
}

// startOver has a device reload its list. All deletions up to the new cursor are
// in what it loads then.
func (s *Service) startOver(d *device) error {
	now := s.hub.standing()
	d.cursor, d.epoch = now.position, now.epoch
	if err := d.send(lostFrame); err != nil {
		return err
	}
	return d.send(helloFrame(now.position, now.epoch))
}
