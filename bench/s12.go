package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/lethe-im/lethe/conversation"
)

// S12 is about shared logs. In hideLogs each command hides a log from one member, while another one keeps it. In eraseLog the rows go.

// hideLogs is S12's first half, of logs with so many messages.
func hideLogs(messages int) scenario {
	return scenario{
		id: "S12", title: fmt.Sprintf("shared logs of %d messages, each command hides one from one member", messages), contestants: []contestant{lethe}, plan: logPlan,
		figures: []figure{
			{name: figureCommands, goals: []goal{{against: lethe, sense: atLeast, number: 0.8, elsewhere: "S1"}}},
			{name: figurePeak, goals: []goal{{sense: atMost, number: mostMemory}}},
		},
		load: func(ctx context.Context, w *world) error {
			if err := w.exec(ctx, logSchema); err != nil {
				return err
			}
			return w.opts.Sizes.logsOf(messages).load(ctx, w)
		},
		run: func(ctx context.Context, w *world, who contestant) (sample, error) {
			return w.hideLogs(ctx, who, w.opts.Sizes.logsOf(messages))
		},
	}
}

// logsOf are as many logs of so many messages as there are commands, or as the conversation of S3 has messages for: then the
// commands are of several members of each. One more member keeps it.
func (s sizes) logsOf(messages int) logs {
	n := min(s.Small, s.Long/messages)
	return logs{name: "short", n: n, messages: messages, members: s.Small/n + 1}
}

// hideLogs is a trial in which all members but one of each log delete it.
func (w *world) hideLogs(ctx context.Context, who contestant, l logs) (sample, error) {
	commands := l.hides(l.members - 1)
	if err := w.start(ctx, who, w.database); err != nil {
		return nil, err
	}
	if err := w.publish(ctx, commands); err != nil {
		return nil, err
	}
	s, err := w.metered(ctx, len(commands), func(s sample) error {
		start, end, err := w.untilEvents(ctx, len(commands))
		s[figureCommands] = float64(len(commands)) / end.Sub(start).Seconds()
		return err
	})
	if err != nil {
		return nil, err
	}
	if _, err := w.awaitSettled(ctx); err != nil {
		return nil, err
	}
	if err := w.stop(s); err != nil {
		return nil, err
	}
	return s, errors.Join(
		l.checkMessages(ctx, w, l.n*l.messages), l.checkCleared(ctx, w, len(commands)), l.checkTold(ctx, w, l.toldOf(commands), false))
}

// eraseLog is S12's second half: the log of S3's length is erased, because its last member deletes it, or somebody for everyone. Others stay.
func eraseLog(everyone bool) scenario {
	title := "a shared log of a million messages or two that all members delete"
	if everyone {
		title = "the same, deleted for everyone"
	}
	return scenario{
		id: "S12", title: title, contestants: []contestant{lethe}, plan: logPlan,
		figures: append([]figure{
			{name: figureRows, goals: []goal{{against: lethe, sense: atLeast, number: 0.9, elsewhere: "S3"}}},
			{name: figureLongest, goals: []goal{{sense: atMost, number: 60}}},
			{name: figureSlowdown, goals: []goal{{sense: atMost, number: 1.1}}},
		}, shared()...),
		load: func(ctx context.Context, w *world) error {
			long, others := w.opts.Sizes.longLog()
			for _, load := range []func() error{
				func() error { return w.exec(ctx, logSchema) },
				func() error { return others.load(ctx, w) },
				func() error { return long.load(ctx, w) },
			} {
				if err := load(); err != nil {
					return err
				}
			}
			return nil
		},
		run: func(ctx context.Context, w *world, who contestant) (sample, error) {
			return w.eraseLog(ctx, who, w.database, everyone, w.timeErasure)
		},
		onTheWire: func(ctx context.Context, w *world, who contestant) (sample, error) {
			tap, err := openTap(ctx, w.database)
			if err != nil {
				return nil, err
			}
			_, err = w.eraseLog(ctx, who, tap.url, everyone, func(ctx context.Context, _ sample, _, events int) error {
				tap.reset()
				_, _, err := w.untilEvents(ctx, events)
				return err
			})
			took, _ := tap.seen()
			return sample{figureLongest: milliseconds(took)}, errors.Join(err, tap.proxy.Close())
		},
	}
}

// logMembers is how many members the log has that is erased.
const logMembers = 2

// longLog is the log that is erased, and those that stay.
func (s sizes) longLog() (long, others logs) {
	return logs{name: "long", n: 1, messages: s.Long, members: logMembers}, logs{name: "kept", n: s.Others / 1000, messages: 1000, members: logMembers}
}

// eraseLog is a trial in which the long log goes; measure follows it to the last of so many events.
func (w *world) eraseLog(ctx context.Context, who contestant, database string, everyone bool, measure func(ctx context.Context, s sample, messages, events int) error) (sample, error) {
	long, others := w.opts.Sizes.longLog()
	commands := long.hides(logMembers)
	deletions := long.toldOf(commands)
	if everyone {
		commands = commands[:1]
		commands[0].Scope = conversation.ScopeEveryone
		for i := range deletions {
			deletions[i].command = commands[0].CommandID
		}
	}
	if err := w.start(ctx, who, database); err != nil {
		return nil, err
	}
	if err := w.publish(ctx, commands); err != nil {
		return nil, err
	}
	s, err := w.metered(ctx, long.messages, func(s sample) error { return measure(ctx, s, long.messages, 2*len(deletions)) })
	if err != nil {
		return nil, err
	}
	if _, err := w.awaitSettled(ctx); err != nil {
		return nil, err
	}
	if err := w.stop(s); err != nil {
		return nil, err
	}
	return s, errors.Join(
		long.checkMessages(ctx, w, 0), long.checkTold(ctx, w, deletions, true), w.checkRow(ctx, long, !everyone),
		others.checkMessages(ctx, w, others.n*others.messages), others.checkCleared(ctx, w, 0))
}

// checkRow checks that the log's row is there, or has gone with the last member.
func (w *world) checkRow(ctx context.Context, l logs, there bool) error {
	want := 0
	if there {
		want = l.n
	}
	return w.checkCount(ctx, "rows of logs "+l.name, want, `select count(*) from log.conversations where conversation_id like 'group_' || $1 || '-%'`, l.name)
}

// erasedRows is how many messages the erasures of shared logs have deleted.
const erasedRows = `select coalesce(sum(messages_deleted), 0)::bigint from lethe.deletions where command_id = ''`

// timeErasure measures a worker from the moment at which the commands may go to the last event.
func (w *world) timeErasure(ctx context.Context, s sample, messages, events int) error {
	progress, err := w.follow(ctx, erasedRows)
	if err != nil {
		return err
	}
	start, end, err := w.untilEvents(ctx, events)
	points, followErr := progress.stop()
	if err := errors.Join(err, followErr); err != nil {
		return err
	}
	s[figureRows] = float64(messages) / end.Sub(start).Seconds()
	w.noteProgress(s, points, messages)
	return nil
}
