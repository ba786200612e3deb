package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/repo"
)

// statusCommand is `worker status`.
type statusCommand struct {
	shardConfig
	databaseConfig
	jsonConfig
	App       string `name:"app" placeholder:"APP" help:"The command's app, or the user's. Without it: all apps that have used the command's id."`
	User      string `name:"user" placeholder:"USER" help:"The user. Without a command id, lists the user's unfinished deletions. Needs --app."`
	Page      int    `name:"page" placeholder:"N" default:"1" range:"1..1000000" help:"Which page of the list, of 100 deletions, from 1. With --json all of them are printed."`
	CommandID string `arg:"" optional:"" name:"command-id" help:"The command's id, as worker send prints it."`
}

// statusPage is how many deletions a page has.
const statusPage = 100

// Help is the long form of the subcommand's help.
func (c *statusCommand) Help() string {
	return `Each conversation of the command, and with scope everyone each member, is one deletion. Its state is pending, running, done
or failed; the other names are those of the events. In a shared log messages may be hidden from the user and stored for others:
erased says so, and erased_at when the last of them was erased. With --json erased is what conversation.deleted said, and stays
false when they are erased later. waiting_for is what an unfinished deletion waits for, waiting_detail adds figures, or who has the
lock. Of a shard, note says that it had no message of the conversation: perhaps another one has.
With --user and --app instead of a command: all pending or running deletions of the user, by command. Fails if the ledger
doesn't know the command: it still waits in the stream, was refused or never sent, or has expired (--ledger-retention).

    worker status 01JD8Z7K4W3V9Q2M5N6P7R8S9T --app demo
    worker status --app demo --user alice
    worker status 01JD8Z7K4W3V9Q2M5N6P7R8S9T --json | jq -r .state`
}

func (c *statusCommand) check() problems {
	var p problems
	c.shardConfig.check(&p)
	c.databaseConfig.check(&p)
	checkApp(&p, c.App, c.User != "")
	switch {
	case c.CommandID == "" && c.User == "":
		p = append(p, errors.New("neither a command id nor --user is given: expected one of them"))
	case c.Page != 1 && (c.CommandID != "" || c.JSON):
		p.add("page", "is for --user without a command id and without --json")
	}
	return p
}

func (c *statusCommand) run(ctx context.Context, t terminal) error {
	ledger, err := c.openLedger(ctx, c.DatabaseURL)
	if err != nil {
		return err
	}
	defer ledger.Close()
	if c.CommandID == "" {
		return c.list(ctx, t, ledger)
	}
	records, err := ledger.Status(ctx, c.App, c.CommandID)
	if err != nil {
		return err
	}
	records = slices.DeleteFunc(records, func(r purge.Record) bool { return c.User != "" && r.User != c.User })
	switch {
	case len(records) == 0 && c.User != "":
		return fmt.Errorf("the ledger has no command %s of user %s of app %s", c.CommandID, c.User, c.App)
	case len(records) == 0 && c.App == "":
		return fmt.Errorf("the ledger has no command %s", c.CommandID)
	case len(records) == 0:
		return fmt.Errorf("the ledger has no command %s of app %s", c.CommandID, c.App)
	case c.JSON:
		for _, r := range records {
			if err := t.printJSON(c.deletion(r)); err != nil {
				return err
			}
		}
		return nil
	case len(records) == 1:
		return t.printFields(c.deletion(records[0]).fields())
	}
	if err := t.printTable(statusTable(records)); err != nil {
		return err
	}
	for _, r := range records {
		if d := c.deletion(r); d.Note != "" {
			if err := t.printf("%s: %s\n", printable(d.ConversationID), d.Note); err != nil {
				return err
			}
		}
	}
	return nil
}

// list prints a user's unfinished deletions. It keeps one page in memory.
func (c *statusCommand) list(ctx context.Context, t terminal, ledger *repo.Ledger) error {
	var after purge.Key
	for page := 1; ; page++ {
		records, err := ledger.Unfinished(ctx, c.App, c.User, after, statusPage)
		if err != nil {
			return err
		}
		switch {
		case c.JSON:
			for _, r := range records {
				if err := t.printJSON(deletionOf(r)); err != nil {
					return err
				}
			}
		case page == 1 && len(records) == 0:
			return t.printf("user %s of app %s has no unfinished deletions\n", printable(c.User), printable(c.App))
		case page == c.Page:
			return c.printPage(t, records)
		}
		if len(records) < statusPage {
			if !c.JSON {
				return fmt.Errorf("there is no page %d: the last one is %d", c.Page, page)
			}
			return nil
		}
		after = records[len(records)-1].Key
	}
}

// printPage prints a page for people, and how to get the next one if there may be one.
func (c *statusCommand) printPage(t terminal, records []purge.Record) error {
	if err := t.printTable(userTable(records)); err != nil || len(records) < statusPage {
		return err
	}
	return t.printf("more: --page %d\n", c.Page+1)
}

// userTable has a row for each unfinished deletion.
func userTable(records []purge.Record) [][]string {
	rows := [][]string{{"COMMAND_ID", "CONVERSATION_ID", "STATE", "THROUGH_SEQ", "CURSOR_SEQ", "MESSAGES_DELETED", "ATTEMPTS", "WAITING_FOR", "WAITING_DETAIL"}}
	for _, r := range records {
		d := deletionOf(r)
		rows = append(rows, []string{
			d.CommandID, d.ConversationID, d.State, optional(d.ThroughSeq), strconv.FormatInt(d.CursorSeq, 10), strconv.FormatInt(d.MessagesDeleted, 10),
			strconv.Itoa(d.Attempts), d.WaitingFor, d.WaitingDetail,
		})
	}
	return rows
}

// deletion is a row of the ledger for programs. What isn't decided yet is absent.
type deletion struct {
	CommandID           string     `json:"command_id"`
	AppID               string     `json:"app_id"`
	UserID              string     `json:"user_id"`
	ConversationID      string     `json:"conversation_id"`
	State               string     `json:"state"`
	ThroughSeq          *int64     `json:"through_seq,omitempty"`
	CursorSeq           int64      `json:"cursor_seq"`
	MessagesDeleted     int64      `json:"messages_deleted"`
	HistoryKept         bool       `json:"history_kept"`
	ConversationRemoved *bool      `json:"conversation_removed,omitempty"`
	ConversationKept    bool       `json:"conversation_kept,omitempty"`
	Erased              *bool      `json:"erased,omitempty"`
	ErasedAt            *time.Time `json:"erased_at,omitempty"`
	Scope               string     `json:"scope,omitempty"`
	RequestedBy         string     `json:"requested_by,omitempty"`
	MultiClientSync     *bool      `json:"multi_client_sync,omitempty"`
	OriginDeviceID      string     `json:"origin_device_id,omitempty"`
	RequestedAt         *time.Time `json:"requested_at,omitempty"`
	CompletedAt         *time.Time `json:"completed_at,omitempty"`
	FailedAt            *time.Time `json:"failed_at,omitempty"`
	Reason              string     `json:"reason,omitempty"`
	Message             string     `json:"message,omitempty"`
	Attempts            int        `json:"attempts"`
	LastError           string     `json:"last_error,omitempty"`
	WaitingFor          string     `json:"waiting_for,omitempty"`
	WaitingDetail       string     `json:"waiting_detail,omitempty"`
	Note                string     `json:"note,omitempty"`
}

func deletionOf(r purge.Record) deletion {
	d := deletion{
		CommandID: r.Command, AppID: r.App, UserID: r.User, ConversationID: r.Conversation, State: string(r.State),
		CursorSeq: r.CursorSeq, MessagesDeleted: r.MessagesDeleted, HistoryKept: r.HistoryKept, OriginDeviceID: r.Device,
		RequestedAt: some(r.RequestedAt), Attempts: r.Attempts, LastError: r.LastError, WaitingFor: string(r.WaitingFor),
		WaitingDetail: r.WaitingDetail, ConversationKept: r.ConversationKept, Scope: string(r.Scope), RequestedBy: r.RequestedBy,
	}
	if r.Pinned {
		d.ThroughSeq = &r.ThroughSeq
	}
	switch r.State {
	case purge.Done:
		d.ConversationRemoved, d.MultiClientSync, d.CompletedAt = &r.ConversationRemoved, &r.MultiClientSync, some(r.CompletedAt)
		d.Erased, d.ErasedAt = &r.Erased, some(r.ErasedAt)
	case purge.Failed:
		d.Reason, d.Message, d.FailedAt = r.Reason, r.Message, some(r.FailedAt)
	case purge.Pending, purge.Running:
	}
	return d
}

// deletion is [deletionOf] with what an operator of several shards should know: the
// command may have come to the wrong one.
func (c *statusCommand) deletion(r purge.Record) deletion {
	d := deletionOf(r)
	if c.Shard != "" && r.State == purge.Done && r.MessagesDeleted == 0 && r.ThroughSeq == 0 {
		d.Note = "shard " + c.Shard + " had no message of this conversation: check that the user's messages lie there"
	}
	return d
}

// some returns nil for the zero time.
func some(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func (d deletion) fields() []field {
	return []field{
		{"app_id", d.AppID},
		{"user_id", d.UserID},
		{"conversation_id", d.ConversationID},
		{"state", d.State},
		{"waiting_for", d.WaitingFor},
		{"waiting_detail", d.WaitingDetail},
		{"through_seq", optional(d.ThroughSeq)},
		{"cursor_seq", strconv.FormatInt(d.CursorSeq, 10)},
		{"messages_deleted", strconv.FormatInt(d.MessagesDeleted, 10)},
		{"history_kept", strconv.FormatBool(d.HistoryKept)},
		{"conversation_kept", unlessFalse(d.ConversationKept)},
		{"conversation_removed", optional(d.ConversationRemoved)},
		{"erased", erasedField(d)},
		{"erased_at", optionalTime(d.ErasedAt)},
		{"scope", d.Scope},
		{"requested_by", d.RequestedBy},
		{"multi_client_sync", optional(d.MultiClientSync)},
		{"origin_device_id", d.OriginDeviceID},
		{"requested_at", optionalTime(d.RequestedAt)},
		{"completed_at", optionalTime(d.CompletedAt)},
		{"failed_at", optionalTime(d.FailedAt)},
		{"reason", d.Reason},
		{"message", d.Message},
		{"attempts", strconv.Itoa(d.Attempts)},
		{"last_error", d.LastError},
		{"note", d.Note},
	}
}

func unlessFalse(is bool) string {
	if !is {
		return ""
	}
	return "true"
}

func optional[T any](p *T) string {
	if p == nil {
		return ""
	}
	return fmt.Sprint(*p)
}

func optionalTime(t *time.Time) string {
	if t == nil {
		return ""
	}
	return stamp(*t)
}

// statusTable has a row for each deletion with the most useful columns; --json has the
// rest.
func statusTable(records []purge.Record) [][]string {
	rows := [][]string{{"APP_ID", "USER_ID", "CONVERSATION_ID", "STATE", "ERASED", "THROUGH_SEQ", "MESSAGES_DELETED", "ATTEMPTS", "SINCE", "REASON", "WAITING_FOR"}}
	for _, r := range records {
		d := deletionOf(r)
		rows = append(rows, []string{
			d.AppID, d.UserID, d.ConversationID, d.State, erased(d), optional(d.ThroughSeq), strconv.FormatInt(d.MessagesDeleted, 10),
			strconv.Itoa(d.Attempts), optionalTime(d.CompletedAt) + optionalTime(d.FailedAt), d.Reason, d.WaitingFor,
		})
	}
	return rows
}

// erasedField is [erased] for who reads one deletion: the event said false where messages were erased later.
func erasedField(d deletion) string {
	switch is := erased(d); {
	case is == "hidden":
		return "hidden: other members still have the messages"
	case is == "yes" && !*d.Erased:
		return "yes, hidden at first"
	default:
		return is
	}
}

// erased says of a deletion that is done whether its messages are stored for others.
func erased(d deletion) string {
	switch {
	case d.Erased == nil:
		return ""
	case *d.Erased || d.ErasedAt != nil:
		return "yes"
	}
	return "hidden"
}
