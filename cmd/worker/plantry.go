package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/handler"
	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/repo"
)

// planTryCommand is `worker plan try`.
type planTryCommand struct {
	databaseConfig
	planConfig
	targetConfig
	expressConfig
	throttleConfig
	foregroundConfig
	jsonConfig
	App          string `name:"app" required:"" placeholder:"APP" help:"The app."`
	User         string `name:"user" required:"" placeholder:"USER" help:"The user whose copy a deletion would remove."`
	Conversation string `name:"conversation" placeholder:"ID" help:"The conversation."`
	All          bool   `name:"all-conversations" help:"All conversations of the user, instead of one."`
	ThroughSeq   *int64 `name:"through-seq" placeholder:"N" help:"The boundary that the command would have. Without it: what has been sent until now."`
}

// Help is the long form of the subcommand's help.
func (c *planTryCommand) Help() string {
	return `Says what a deletion would do now, and changes nothing: all its transactions are read-only. The rows and bytes that go from each
table, the boundary, in about how many transactions and how long by this database's own pace, what throttles large deletions
at this moment, and who may hold it up. In a shared log: what becomes hidden for the user, the floor after that, what is erased
at or below it, and who keeps the rest. It reads each row that would go once, 10,000 messages to a transaction, and needs no
more than select on the plan's tables. The limits are those of worker run: give it the same flags or variables.

    worker plan try --plan plan.yaml --app demo --user alice --conversation c2c_bob
    worker plan try --app demo --user alice --all-conversations
    worker plan try --app demo --user alice --conversation group_42 --through-seq 1200 --json | jq .tables`
}

func (c *planTryCommand) check() problems {
	var p problems
	c.databaseConfig.check(&p)
	c.planConfig.check(&p)
	if c.All && (c.Conversation != "" || c.ThroughSeq != nil) {
		return append(p, errors.New("--all-conversations is mutually exclusive with --conversation and --through-seq"))
	}
	cmd := conversation.Command{CommandID: "-", AppID: c.App, UserID: c.User, AllConversations: c.All}
	if !c.All {
		cmd.Conversations = []conversation.Target{{ID: c.Conversation, ThroughSeq: c.ThroughSeq}}
	}
	if err := cmd.Validate(); err != nil {
		p = append(p, err)
	}
	return p
}

func (c *planTryCommand) run(ctx context.Context, t terminal) error {
	p, err := c.load()
	if err != nil {
		return err
	}
	store, report, err := repo.OpenTrial(ctx, repo.Config{URL: c.DatabaseURL, Plan: p, AllowUnindexed: c.AllowUnindexed, LongConcurrency: c.LongConcurrency})
	if err != nil {
		return err
	}
	if store == nil {
		if err := c.unnamed(report.Err()); errors.Is(err, errNoPlan) {
			return err
		}
		return fmt.Errorf("the plan doesn't fit; worker plan check says all of it: %w", report.Err())
	}
	defer store.Close()
	d := purge.Deletion{Key: purge.Key{App: c.App, Command: "-", User: c.User, Conversation: c.Conversation}, ThroughSeq: c.ThroughSeq, StoredAt: time.Now()}
	if store.EveryoneOnly() {
		d.Scope, d.RequestedBy = purge.ScopeEveryone, c.User
	}
	if err := refusal(ctx, store, d); err != nil {
		return err
	}
	if c.All {
		return c.tryAll(ctx, t, store, d)
	}
	watched := c.watch(ctx, store)
	trial, err := store.Try(ctx, d)
	if err != nil {
		return err
	}
	found := c.found(d, trial, <-watched)
	if c.JSON {
		return t.printJSON(found)
	}
	return found.print(t)
}

// tryAllResult is a trial of all conversations for programs.
type tryAllResult struct {
	AppID         string     `json:"app_id"`
	UserID        string     `json:"user_id"`
	Conversations int64      `json:"conversations"`
	Large         int64      `json:"large"`
	Messages      int64      `json:"messages"`
	Tables        []tryTable `json:"tables"`
}

// tryAll tries the deletion of all conversations of the user, one after the other.
func (c *planTryCommand) tryAll(ctx context.Context, t terminal, store *repo.Repo, d purge.Deletion) error {
	all, err := store.TryAll(ctx, d, int64(c.ExpressRows))
	if errors.Is(err, purge.ErrUnsupportedScope) {
		return fmt.Errorf("the command would be refused: %s: %w", conversation.ReasonUnsupportedScope, err)
	}
	if err != nil {
		return err
	}
	r := tryAllResult{AppID: d.App, UserID: d.User, Conversations: all.Conversations, Large: all.Large, Messages: all.Messages, Tables: tryTables(all.Tables)}
	if c.JSON {
		return t.printJSON(r)
	}
	if err := t.printFields([]field{
		{"conversations", strconv.FormatInt(r.Conversations, 10)},
		{"long lane", purge.Count(int(r.Large), "conversation")},
		{"messages", strconv.FormatInt(r.Messages, 10)},
	}); err != nil {
		return err
	}
	return printTables(t, r.Tables)
}

// refusal is why a command would be refused, as its event would say.
func refusal(ctx context.Context, store *repo.Repo, d purge.Deletion) error {
	bad, err := store.Unencodable(ctx, []purge.Deletion{d})
	if err != nil {
		return err
	}
	if u, ok := bad[0]; ok {
		return fmt.Errorf("the command would be refused: %s: %w", conversation.ReasonIncompatibleID, u.Err)
	}
	_, err = store.Incompatible(d)
	switch {
	case errors.Is(err, purge.ErrUnsupportedScope):
		return fmt.Errorf("the command would be refused: %s: %w", conversation.ReasonUnsupportedScope, err)
	case errors.Is(err, purge.ErrBoundaryRequired):
		return fmt.Errorf("the command would be refused: %s: %w", conversation.ReasonBoundaryRequired, err)
	case err != nil:
		return fmt.Errorf("the command would be refused: %s: %w", conversation.ReasonIncompatibleID, err)
	}
	return nil
}

// watchTime is how long the database is watched for what throttles: its sessions report about
// once a second what they did.
const watchTime = 1200 * time.Millisecond

// watch samples the database beside the trial. What it returns yields what throttles.
func (c *planTryCommand) watch(ctx context.Context, store *repo.Repo) <-chan []tryThrottle {
	result := make(chan []tryThrottle, 1)
	if store.Ledgerless() {
		result <- []tryThrottle{{Reason: "unknown", Detail: repo.NoLedger}}
		return result
	}
	go func() {
		limits := c.limits(c.Target)
		m := purge.Monitor{Limits: limits, ForegroundBackoff: c.ForegroundBackoff, Noise: purge.Pace{Target: c.Target}.Noise(c.LongConcurrency)}
		var found []tryThrottle
		for i := range 2 {
			if i > 0 {
				select {
				case <-time.After(watchTime):
				case <-ctx.Done():
				}
			}
			f, err := store.Watch(ctx, limits, true)
			if err != nil {
				result <- []tryThrottle{{Reason: "unknown", Detail: "what throttles can't be read: " + err.Error()}}
				return
			}
			m.Sampled(time.Now(), f, true)
			found = nil
			for _, reason := range purge.ThrottleReasons() {
				if why := f.Unread[reason]; why != "" {
					found = append(found, tryThrottle{Reason: "unknown", Detail: string(reason) + ": " + why})
				}
			}
		}
		for _, t := range m.Throttles() {
			found = append(found, tryThrottle{Reason: string(t.Reason), Detail: t.Detail})
		}
		if backoff := m.Backoff(time.Now()); backoff > 0 {
			found = append(found, tryThrottle{Reason: string(purge.ForegroundLoad), Detail: fmt.Sprintf("other clients use the database: large deletions wait %.1f times as long as each batch takes", backoff)})
		}
		result <- found
	}()
	return result
}

// tryResult is a trial for programs.
type tryResult struct {
	AppID               string     `json:"app_id"`
	UserID              string     `json:"user_id"`
	ConversationID      string     `json:"conversation_id"`
	ThroughSeq          int64      `json:"through_seq"`
	Messages            int64      `json:"messages"`
	NewestDeletedSentAt string     `json:"newest_deleted_sent_at,omitempty"`
	OldestKeptSentAt    string     `json:"oldest_kept_sent_at,omitempty"`
	ConversationRemoved bool       `json:"conversation_removed"`
	Scope               string     `json:"scope,omitempty"`
	SharedLog           *tryLog    `json:"shared_log,omitempty"`
	Tables              []tryTable `json:"tables"`
	// Lane is express or long, and Batches about how many transactions delete.
	Lane    string `json:"lane"`
	Batches int64  `json:"batches"`
	// MessagesPerSecond is this database's own pace, and Seconds about how long by that. Absent where there is none yet.
	MessagesPerSecond float64       `json:"messages_per_second,omitempty"`
	Seconds           float64       `json:"seconds,omitempty"`
	Throttled         []tryThrottle `json:"throttled"`
	BlockedBy         []string      `json:"blocked_by"`
	Doubts            []string      `json:"doubts"`
	pace              string
}

// tryLog is what a deletion hides in a shared log, and who keeps what it doesn't erase; what it erases is in the tables.
type tryLog struct {
	HiddenMessages int64       `json:"hidden_messages"`
	Floor          *int64      `json:"floor,omitempty"`
	Members        int64       `json:"members"`
	Keeping        int64       `json:"keeping"`
	KeptBy         []tryKeeper `json:"kept_by"` // the first of them
}

// tryKeeper is a member who keeps messages; through_seq is absent for one who has deleted nothing.
type tryKeeper struct {
	UserID     string `json:"user_id"`
	ThroughSeq *int64 `json:"through_seq,omitempty"`
}

// tryTable is what would become of a table's rows.
type tryTable struct {
	Path    string `json:"path"`
	Table   string `json:"table"`
	Deleted int64  `json:"deleted"`
	Updated int64  `json:"updated"`
	Kept    int64  `json:"kept"`
	// Bytes are those of the rows that go, without indexes; Estimated: by the table's average row.
	Bytes     int64 `json:"bytes"`
	Estimated bool  `json:"estimated,omitempty"`
}

func tryTables(tables []repo.TrialTable) (out []tryTable) {
	for _, t := range tables {
		out = append(out, tryTable{t.Path, t.Name, t.Deleted, t.Updated, t.Kept, t.Bytes, t.Estimated})
	}
	return out
}

// tryThrottle is what throttles large deletions now.
type tryThrottle struct {
	Reason string `json:"reason"`
	Detail string `json:"detail"`
}

func (c *planTryCommand) found(d purge.Deletion, trial *repo.Trial, throttled []tryThrottle) tryResult {
	r := tryResult{
		AppID: d.App, UserID: d.User, ConversationID: d.Conversation, ThroughSeq: trial.ThroughSeq, Messages: trial.Messages,
		ConversationRemoved: trial.ConversationRemoved, Lane: "express", Throttled: []tryThrottle{}, BlockedBy: []string{}, Doubts: []string{},
	}
	r.NewestDeletedSentAt, r.OldestKeptSentAt = sentAt(trial.NewestDeleted), sentAt(trial.OldestKept)
	r.Scope = string(d.Scope)
	if log := trial.Log; log != nil {
		r.SharedLog = &tryLog{HiddenMessages: log.Hidden, Floor: log.Floor, Members: log.Members, Keeping: log.Keeping, KeptBy: []tryKeeper{}}
		for _, k := range log.Keepers {
			r.SharedLog.KeptBy = append(r.SharedLog.KeptBy, tryKeeper{k.User, k.Cleared})
		}
	}
	r.Tables = tryTables(trial.Tables)
	for _, t := range trial.Throttles {
		r.Throttled = append(r.Throttled, tryThrottle{string(t.Reason), t.Detail})
	}
	r.Throttled = append(r.Throttled, throttled...)
	r.BlockedBy, r.Doubts = append(r.BlockedBy, trial.Blockers...), append(r.Doubts, trial.Doubts...)
	pace := median(trial.Paces)
	r.Batches = handler.Config{Target: c.Target, PerDeletion: c.ExpressRows}.Batches(r.Messages, pace)
	switch {
	case r.Messages < int64(c.ExpressRows):
		r.pace = "in the express lane, some milliseconds"
	case pace == 0:
		r.Lane, r.pace = "long", "no pace yet: "+trial.Unpaced
	default:
		r.Lane, r.MessagesPerSecond = "long", pace
		r.Seconds = float64(r.Messages) / pace
		r.pace = fmt.Sprintf("about %v, at %.0f messages a second (the median of the last %s)",
			time.Duration(r.Seconds*float64(time.Second)).Round(time.Millisecond), pace, purge.Count(len(trial.Paces), "large deletion"))
	}
	return r
}

// sentAt is a message's time as RFC 3339 has it; "" for none. A wrong unit may make years that time.Time's own JSON has no room for.
func sentAt(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

// median is the middle of some numbers; 0 for none.
func median(of []float64) float64 {
	if len(of) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(of))[len(of)/2]
}

// print writes the result for people.
func (r tryResult) print(t terminal) error {
	removed := "no row is left"
	if !r.ConversationRemoved {
		removed = "the row stays"
	}
	throttled := make([]string, len(r.Throttled))
	for i, th := range r.Throttled {
		throttled[i] = th.Reason + " (" + th.Detail + ")"
	}
	messages := strconv.FormatInt(r.Messages, 10)
	if r.Scope != "" {
		messages += ", for everyone: no table says who the members are"
	}
	fields := append(r.SharedLog.fields(r.UserID), []field{
		{"through_seq", strconv.FormatInt(r.ThroughSeq, 10)},
		{"messages", messages},
		{"newest deleted", sentOrNot(r.NewestDeletedSentAt)},
		{"oldest kept", sentOrNot(r.OldestKeptSentAt)},
		{"conversation", removed},
		{"batches", fmt.Sprintf("about %d", r.Batches)},
		{"time", r.pace},
		{"throttled by", orNothing(throttled)},
		{"blocked by", orNothing(r.BlockedBy)},
		{"doubts", orNothing(r.Doubts)},
	}...)
	if err := t.printFields(fields); err != nil {
		return err
	}
	return printTables(t, r.Tables)
}

// printTables writes what becomes of the tables' rows.
func printTables(t terminal, tables []tryTable) error {
	rows := [][]string{{"TABLE", "DELETED", "UPDATED", "KEPT", "BYTES DELETED", "IN THE PLAN"}}
	for _, table := range tables {
		bytes := strconv.FormatInt(table.Bytes, 10)
		if table.Estimated {
			bytes = "about " + bytes
		}
		rows = append(rows, []string{
			table.Table, strconv.FormatInt(table.Deleted, 10), strconv.FormatInt(table.Updated, 10), strconv.FormatInt(table.Kept, 10), bytes, table.Path,
		})
	}
	if err := t.printf("\n"); err != nil {
		return err
	}
	if err := t.printTable(rows); err != nil {
		return err
	}
	return t.printf("\nNothing was changed.\n")
}

// fields say what becomes hidden, for people; none where messages have owners.
func (l *tryLog) fields(user string) []field {
	if l == nil {
		return nil
	}
	floor, kept := "none", make([]string, 0, len(l.KeptBy)+1)
	if l.Floor != nil {
		floor = strconv.FormatInt(*l.Floor, 10) + ": what is at or below it is erased"
	}
	for _, k := range l.KeptBy {
		through := "has deleted nothing"
		if k.ThroughSeq != nil {
			through = fmt.Sprintf("has deleted through %d", *k.ThroughSeq)
		}
		kept = append(kept, k.UserID+" "+through)
	}
	if more := l.Keeping - int64(len(l.KeptBy)); more > 0 {
		kept = append(kept, fmt.Sprintf("and %d more", more))
	}
	return []field{
		{"hidden", fmt.Sprintf("%s from %s, at once", purge.Count(int(l.HiddenMessages), "message"), user)},
		{"floor", floor},
		{"kept by", orNothing(kept)},
	}
}

func orNothing(lines []string) string {
	if len(lines) == 0 {
		return "nothing"
	}
	return strings.Join(lines, "; ")
}

func sentOrNot(at string) string {
	if at == "" {
		return "no message, or none with a time"
	}
	return "sent at " + at
}
