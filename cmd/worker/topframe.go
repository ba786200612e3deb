package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/repo"
)

// frame is the overview as lines that fit a terminal; a width of 0 doesn't bound them, nor
// does a height of 0.
func (o *overview) frame(width, height int) []string {
	head, foot := o.head(), o.foot()
	rows := o.Deletions
	if height > 0 {
		if room := max(1, height-len(head)-len(foot)-2); len(rows) > room {
			rows = rows[:max(1, room-1)]
		}
	}
	lines := head
	if len(rows) > 0 {
		lines = append(append(lines, ""), alignColumns(topColumns(rows), width)...)
	}
	if o.Unfinished != nil && *o.Unfinished > len(rows) {
		lines = append(lines, fmt.Sprintf("and %s more", atLeast(*o.Unfinished-len(rows), *o.Unfinished >= repo.MaxUnfinished)))
	}
	lines = append(lines, foot...)
	if height > 0 {
		lines = lines[:min(len(lines), height)]
	}
	for i, line := range lines {
		if width > 0 {
			lines[i] = cut(line, width)
		}
	}
	return lines
}

// atLeast is n, with a plus where there may be more.
func atLeast(n int, more bool) string {
	s := strconv.Itoa(n)
	if more {
		s += "+"
	}
	return s
}

// head says how much there is to do, and what is in the way.
func (o *overview) head() []string {
	title := "worker top, " + o.SampledAt.UTC().Format("15:04:05 UTC")
	if o.Shard != "" {
		title += ", shard " + o.Shard
	}
	lines := []string{title}
	switch {
	case o.Waiting != nil:
		lines = append(lines, fmt.Sprintf("commands: %d waiting, %d in flight%s; dead letters: %d", *o.Waiting, *o.InFlight, o.oldest(), *o.DeadLetters))
	case o.Commands != nil:
		lines = append(lines, fmt.Sprintf("commands: %d unfinished%s; dead letters: %d", *o.Commands, o.oldest(), *o.DeadLetters))
	}
	if o.Unfinished != nil {
		capped := *o.Unfinished >= repo.MaxUnfinished
		lines = append(lines, fmt.Sprintf("unfinished deletions: %s running, %s pending", atLeast(*o.Running, capped), atLeast(*o.Unfinished-*o.Running, capped)))
	}
	for _, text := range slices.Concat(o.Notices, o.Problems) {
		lines = append(lines, printable(text))
	}
	return lines
}

func (o *overview) oldest() string {
	if *o.Commands == 0 {
		return ""
	}
	return ", the oldest " + shortTime(*o.OldestSeconds) + " old"
}

// foot says which apps the commands are of.
func (o *overview) foot() []string {
	if len(o.Apps) == 0 {
		return nil
	}
	const shown = 8
	words := make([]string, 0, shown)
	for _, a := range o.Apps[:min(shown, len(o.Apps))] {
		app := printable(a.AppID)
		if app == "" {
			app = "without an app in the subject"
		}
		words = append(words, fmt.Sprintf("%s %d", cut(app, 24), a.Commands))
	}
	line := "commands by app: " + strings.Join(words, ", ")
	if more := o.AppCount - len(words); more > 0 {
		line += fmt.Sprintf(", and %s", purge.Count(more, "more app"))
	}
	return []string{"", line}
}

// topColumns are the columns of a table of deletions.
func topColumns(rows []topDeletion) []tableColumn {
	columns := []tableColumn{
		{name: "APP_ID", shrinks: true, dropped: 1},
		{name: "USER_ID", shrinks: true},
		{name: "CONVERSATION_ID", shrinks: true},
		{name: "COMMAND_ID", shrinks: true, dropped: 4},
		{name: "STATE"},
		{name: "LANE", dropped: 2},
		{name: "DONE", right: true},
		{name: "", dropped: 3}, // a bar
		{name: "DELETED", right: true, dropped: 5},
		{name: "RATE", right: true},
		{name: "LEFT", right: true},
		{name: "LEASE", right: true, dropped: 7},
		{name: "WAITING_FOR"},
		{name: "WAITING_DETAIL", shrinks: true, text: true, dropped: 6},
	}
	for _, d := range rows {
		for i, cell := range d.cells() {
			columns[i].cells = append(columns[i].cells, orDash(printable(cell)))
		}
	}
	return columns
}

// cells are a row of topColumns.
func (d *topDeletion) cells() []string {
	state := d.State
	switch {
	case d.WaitingFor != "":
		state = "waiting"
	case d.Erasure && d.State == string(purge.Running):
		state = "erasing"
	}
	done, bar, rate, left, lease := "", "", "", "", ""
	if d.Percent != nil {
		const width = 10
		filled := *d.Percent * width / 100
		done, bar = fmt.Sprintf("%d %%", *d.Percent), "["+strings.Repeat("#", filled)+strings.Repeat(".", width-filled)+"]"
	}
	if d.MessagesPerSecond != nil && (d.State == string(purge.Running) || *d.MessagesPerSecond > 0) {
		rate = fmt.Sprintf("%.0f/s", *d.MessagesPerSecond)
	}
	if d.SecondsLeft != nil {
		left = shortTime(*d.SecondsLeft)
	}
	if d.LeaseSeconds != nil {
		if lease = shortTime(*d.LeaseSeconds); *d.LeaseSeconds < 0 {
			lease = "expired"
		}
	}
	return []string{
		d.AppID, d.UserID, d.ConversationID, d.CommandID, state, d.Lane, done, bar, strconv.FormatInt(d.MessagesDeleted, 10), rate, left, lease,
		d.WaitingFor, d.WaitingDetail,
	}
}

// shortTime writes seconds for people with two units at most.
func shortTime(seconds float64) string {
	const minute, hour, day = 60, 60 * 60, 24 * 60 * 60
	switch s := int64(min(max(0, seconds), float64(1<<53))); {
	case s < minute:
		return fmt.Sprintf("%ds", s)
	case s < hour:
		return fmt.Sprintf("%dm%02ds", s/minute, s%minute)
	case s < 2*day:
		return fmt.Sprintf("%dh%02dm", s/hour, s%hour/minute)
	default:
		return fmt.Sprintf("%dd%02dh", s/day, s%day/hour)
	}
}
