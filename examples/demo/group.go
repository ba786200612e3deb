package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-im/lethe/conversation"
)

const (
	killAt = 40 // percent of the group
	// largeGroup takes the worker seconds. A smaller one is gone before it can be
	// hit in the middle, unless its batches are smaller: so many of them.
	largeGroup = 1_000_000
	batches    = 80
	// ledgerPoll is how often the bar asks the ledger, and quickPoll where there is
	// little time.
	ledgerPoll = 10 * time.Millisecond
	quickPoll  = time.Millisecond
)

// takeover is what the first worker left behind.
type takeover struct {
	Cursor  int64 // the ledger's: nothing is left up to here
	Deleted int64 // as the ledger has it
	Left    int64 // as counted
}

// progressOf is how far the ledger is with a command of one conversation.
type progressOf struct {
	Deleted  int64
	Finished bool
}

// hugeGroup deletes the group, kills the worker in the middle, and lets a second
// one go on.
func (s *story) hugeGroup() error {
	s.out.step(fmt.Sprintf("A group of %s messages, and kill -9 in the middle", number(s.options.group)))
	cmd := deletion(alice, s.phone.id, group, s.large.last) // all that the phone has shown
	if err := s.ask(cmd); err != nil {
		return err
	}
	s.out.say(fmt.Sprintf("%s deletes %s through seq %s", s.phone.id, group, number(s.large.last)))
	ended := s.listenForEnd(cmd.CommandID)
	bar := newBar(s.out, int64(s.options.group))
	killed, err := s.killInTheMiddle(bar, cmd.CommandID)
	if err != nil {
		return err
	}
	if err := s.carolWrites(); err != nil {
		return err
	}
	if err := s.goOn(bar, cmd.CommandID, killed); err != nil {
		return err
	}
	if err := (<-ended).show(s); err != nil {
		return err
	}
	if err := s.stopWorker(); err != nil {
		return err
	}
	s.out.note("peak memory of the second worker: %d MB", s.worker.peakMemory()>>20)
	return nil
}

// killInTheMiddle lets the worker come so far, and returns when it was killed.
func (s *story) killInTheMiddle(b *bar, command string) (time.Time, error) {
	enough := func(p progressOf) bool { return p.Deleted*100 >= b.total*killAt }
	if err := s.watchBar(b, command, enough); err != nil {
		return time.Time{}, err
	}
	pid := s.worker.cmd.Process.Pid
	s.worker.kill()
	killed := time.Now()
	b.until = killed // counting what is left takes a while
	if err := s.lookAfterCrash(b, command); err != nil {
		return killed, err
	}
	s.out.say(s.out.styled(red, fmt.Sprintf("kill -9 %d", pid))+fmt.Sprintf(": %s messages deleted, %s left",
		number(s.takeover.Deleted), number(s.takeover.Left)), number(b.rate())+" messages/s")
	return killed, nil
}

// goOn starts a second worker and lets it finish.
func (s *story) goOn(b *bar, command string, killed time.Time) error {
	if err := s.work(); err != nil {
		return err
	}
	s.out.note("it waits until the lease of the first has expired: --ack-wait, %v here", s.ackWait)
	b.restart()
	var resumed time.Time
	err := s.watchBar(b, command, func(p progressOf) bool {
		if resumed.IsZero() && p.Deleted > s.takeover.Deleted {
			resumed = time.Now()
		}
		return p.Finished
	})
	if err != nil {
		return err
	}
	b.end()
	s.out.say("the second worker went on after "+lasted(resumed.Sub(killed)),
		rate(b.total-s.takeover.Deleted, time.Since(resumed), "messages"))
	return nil
}

// end is how a command ended, as the devices heard it.
type end struct {
	event conversation.Deleted
	told  []*device
	err   error
}

// listenForEnd lets the presence service go on while the bar is drawn.
func (s *story) listenForEnd(command string) <-chan end {
	ended := make(chan end, 1)
	go func() {
		ctx, cancel := s.limited()
		defer cancel()
		e, told, err := s.presence.until(ctx, command)
		ended <- end{e, told, err}
	}()
	return ended
}

func (e end) show(s *story) error {
	if e.err != nil {
		return e.err
	}
	s.tellDevices(e.event, e.told, "")
	if len(e.told) != len(s.presence.devices) {
		return fmt.Errorf("%s was sent to %s", e.event.ConversationID, count(len(e.told), "device"))
	}
	if s.phone.progress > 0 { // at most one a second
		s.out.note("meanwhile %s, which asked, received %s", s.phone.id, count(s.phone.progress, "progress event"))
	}
	return nil
}

// watchBar moves the bar until the deletion has come far enough.
func (s *story) watchBar(b *bar, command string, enough func(progressOf) bool) error {
	ctx, cancel := s.limited()
	defer cancel()
	poll := ledgerPoll
	if s.options.group < largeGroup {
		poll = quickPoll
	}
	return until(ctx, poll, func() (bool, error) {
		rows, err := s.db.Query(ctx, `select messages_deleted as deleted, state = 'done' as finished
			from lethe.deletions where app_id = $1 and command_id = $2`, app, command)
		if err != nil {
			return false, err
		}
		found, err := pgx.CollectRows(rows, pgx.RowToStructByName[progressOf])
		if err != nil || len(found) == 0 {
			return false, err // no row: not taken up yet
		}
		b.set(found[0].Deleted)
		return enough(found[0]), nil
	})
}

// lookAfterCrash notes what the dead worker has left.
func (s *story) lookAfterCrash(b *bar, command string) error {
	ctx, cancel := s.limited()
	defer cancel()
	if err := s.sessionsGone(ctx); err != nil {
		return err
	}
	rows, err := s.db.Query(ctx, `select d.cursor_seq as cursor, d.messages_deleted as deleted,
		  (select count(*) from chat.messages m
		   where m.app_id = d.app_id and m.user_id = d.user_id and m.conversation_id = d.conversation_id) as left
		from lethe.deletions d where d.app_id = $1 and d.command_id = $2 and d.state <> 'done'`, app, command)
	if err != nil {
		return err
	}
	s.takeover, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[takeover])
	if err != nil {
		return fmt.Errorf("the deletion at the crash: %w", err)
	}
	b.set(s.takeover.Deleted)
	b.end()
	return nil
}

// carolWrites sends the group a message that the deletion doesn't cover, while
// nobody is at work.
func (s *story) carolWrites() error {
	seq, err := s.write("carol", inbox{alice, group}, inbox{bob, group})
	if err != nil {
		return err
	}
	s.later++
	s.bobWrote++
	s.out.say(fmt.Sprintf("carol writes to the group: seq %s, which the deletion doesn't cover", number(seq)))
	return nil
}

// sessionsGone waits until the database has noticed that the worker is dead: a
// statement that was on its way may still commit.
func (s *story) sessionsGone(ctx context.Context) error {
	return until(ctx, time.Millisecond, func() (bool, error) {
		n, err := one[int64](ctx, s.db, `select count(*) from pg_stat_activity
			where datname = current_database() and application_name = 'lethe'`)
		return n == 0, err
	})
}
