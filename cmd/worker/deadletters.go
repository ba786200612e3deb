package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lethe-im/lethe/internal/broker"
	"github.com/lethe-im/lethe/internal/purge"
)

// deadLetterCommands is `worker dead-letters`.
type deadLetterCommands struct {
	List  lettersList  `cmd:"" help:"List dead letters, oldest first."`
	Show  lettersShow  `cmd:"" help:"Show one dead letter: its headers and the command."`
	Retry lettersRetry `cmd:"" help:"Publish commands again as they were, and remove their letters."`
	Drop  lettersDrop  `cmd:"" help:"Remove dead letters for good."`
}

// Help is the long form of the subcommands' help.
func (c *deadLetterCommands) Help() string {
	return `A dead letter is a command that failed for good, byte for byte, with the reason in its headers. SEQ is its sequence in the
stream CONVERSATION_DEAD_LETTERS, the first column of the list. With --shard, list, --all, --reason and --app are about the letters of that
shard. A retry goes to the subject that the command came on, of whichever shard.

    worker dead-letters list --app demo
    worker dead-letters show 17
    worker dead-letters retry --reason attempts_exhausted
    worker dead-letters drop 17 18
    worker dead-letters drop --all --app demo --yes`
}

// lettersConfig is what all four take.
type lettersConfig struct {
	shardConfig
	natsConfig
	jsonConfig
	Timeout time.Duration `name:"timeout" placeholder:"DURATION" default:"10s" range:"1ms..1h" help:"Timeout of each request to NATS."`
}

func (c *lettersConfig) checkLetters() problems {
	var p problems
	c.shardConfig.check(&p)
	c.natsConfig.check(&p)
	return p
}

// connect opens a connection for one command.
func (c *lettersConfig) connect(ctx context.Context) (*broker.Broker, error) {
	return broker.Connect(ctx, c.brokerConfig("lethe-dead-letters"))
}

// lettersFilter chooses letters by what they say.
type lettersFilter struct {
	Reason string `name:"reason" placeholder:"REASON" help:"Only those of this reason, such as invalid_command or attempts_exhausted."`
	// Without a variable: one that is left over would drop the wrong letters.
	App string `name:"app" env:"-" placeholder:"APP" help:"Only those of this app."`
}

// each calls do for the letters of the shard, or of all, that f chooses. No answer may take longer than the
// timeout.
func (c *lettersConfig) each(ctx context.Context, b *broker.Broker, f lettersFilter, do func(broker.LetterInfo) error) error {
	limited, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timeout := time.AfterFunc(c.Timeout, func() { cancel(fmt.Errorf("no answer within %v", c.Timeout)) })
	defer timeout.Stop()
	for letter, err := range b.Letters(limited, broker.LetterFilter{Reason: f.Reason, App: f.App, Shard: c.shard()}) {
		if err != nil {
			return errors.Join(err, context.Cause(limited))
		}
		timeout.Stop()
		if err := do(letter); err != nil {
			return err
		}
		timeout.Reset(c.Timeout)
	}
	return nil
}

// lettersList is `worker dead-letters list`.
type lettersList struct {
	lettersConfig
	lettersFilter
}

func (c *lettersList) check() problems {
	p := c.checkLetters()
	checkApp(&p, c.App, false)
	return p
}

func (c *lettersList) run(ctx context.Context, t terminal) error {
	b, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = b.Close() }() // nothing is on its way
	const shardColumn = 4
	rows, sharded := [][]string{{"SEQ", "FAILED_AT", "REASON", "APP_ID", "SHARD", "DELIVERIES", "BYTES", "ERROR"}}, false
	err = c.each(ctx, b, c.lettersFilter, func(l broker.LetterInfo) error {
		if c.JSON {
			return t.printJSON(letterOf(l))
		}
		rows = append(rows, []string{
			strconv.FormatUint(l.Sequence, 10), stamp(l.FailedAt), l.Reason, l.App, l.Shard,
			strconv.FormatUint(l.Deliveries, 10), strconv.Itoa(l.Size), l.Error,
		})
		sharded = sharded || l.Shard != ""
		return nil
	})
	switch {
	case err != nil || c.JSON:
		return err
	case len(rows) == 1:
		return t.printf("no dead letters\n")
	case !sharded:
		for i, row := range rows {
			rows[i] = slices.Delete(row, shardColumn, shardColumn+1)
		}
	}
	return t.printTable(rows)
}

// letter is a dead letter for programs.
type letter struct {
	Seq            uint64     `json:"seq"`
	AppID          string     `json:"app_id,omitempty"`
	Reason         string     `json:"reason"`
	Error          string     `json:"error"`
	Subject        string     `json:"subject"`
	Shard          string     `json:"shard,omitempty"`
	StreamSequence uint64     `json:"stream_sequence"`
	StoredAt       *time.Time `json:"stored_at,omitempty"`
	FailedAt       *time.Time `json:"failed_at,omitempty"`
	Deliveries     uint64     `json:"deliveries"`
	Bytes          int        `json:"bytes"`
}

func letterOf(l broker.LetterInfo) letter {
	return letter{
		Seq: l.Sequence, AppID: l.App, Reason: l.Reason, Error: l.Error, Subject: l.Subject, Shard: l.Shard, StreamSequence: l.CommandSequence,
		StoredAt: some(l.StoredAt), FailedAt: some(l.FailedAt), Deliveries: l.Deliveries, Bytes: l.Size,
	}
}

// fullLetter is a dead letter with all that it holds. Body is set where the
// command is UTF-8, and BodyBase64 where it isn't.
type fullLetter struct {
	letter
	Headers    map[string][]string `json:"headers"`
	Body       *string             `json:"body,omitempty"`
	BodyBase64 *string             `json:"body_base64,omitempty"`
}

func fullLetterOf(l broker.LetterInfo) fullLetter {
	f := fullLetter{letter: letterOf(l), Headers: l.Header}
	if utf8.Valid(l.Data) {
		text := string(l.Data)
		f.Body = &text
		return f
	}
	text := base64.StdEncoding.EncodeToString(l.Data)
	f.BodyBase64 = &text
	return f
}

// lettersShow is `worker dead-letters show`.
type lettersShow struct {
	lettersConfig
	Seq uint64 `arg:"" name:"seq" help:"The letter's sequence."`
	Raw bool   `name:"raw" help:"Print the command's bytes exactly, and nothing else."`
}

func (c *lettersShow) check() problems {
	p := c.checkLetters()
	if c.Raw && c.JSON {
		p = append(p, errors.New("--raw and --json are mutually exclusive"))
	}
	return p
}

func (c *lettersShow) run(ctx context.Context, t terminal) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	b, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = b.Close() }() // nothing is on its way
	l, err := b.Letter(ctx, c.Seq)
	switch {
	case err != nil:
		return err
	case c.Raw:
		_, err := t.out.Write(l.Data)
		return err
	case c.JSON:
		return t.printJSON(fullLetterOf(l))
	}
	return showLetter(t, l)
}

// showLetter prints a letter for people: the headers, a blank line, the command.
func showLetter(t terminal, l broker.LetterInfo) error {
	fields := []field{{"Sequence", strconv.FormatUint(l.Sequence, 10)}, {"App", orDash(l.App)}}
	names := make([]string, 0, len(l.Header))
	for name := range l.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range l.Header[name] {
			fields = append(fields, field{printable(name), orDash(value)})
		}
	}
	if err := t.printFields(fields); err != nil {
		return err
	}
	if !utf8.Valid(l.Data) {
		return t.printf("\nnot UTF-8, %s (--raw prints them); in base64:\n%s\n", purge.Count(len(l.Data), "byte"), base64.StdEncoding.EncodeToString(l.Data))
	}
	if err := t.printf("\n"); err != nil {
		return err
	}
	for line := range strings.SplitSeq(string(l.Data), "\n") {
		if err := t.printf("%s\n", printable(line)); err != nil {
			return err
		}
	}
	return nil
}
