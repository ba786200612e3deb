package broker

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/natserr"
)

const (
	// letterPage is how many letters are asked for at once, and letterPageBytes
	// about how many bytes of them: each may be a megabyte.
	letterPage      = 256
	letterPageBytes = 4 << 20
)

// ErrNoLetter: no dead letter has that number, or not any more.
var ErrNoLetter = errors.New("no such dead letter")

// LetterFilter chooses dead letters. The zero value chooses all.
type LetterFilter struct {
	// Reason chooses those of one reason; "" any.
	Reason string
	// App chooses those of one app; "" any.
	App string
	// Shard chooses those of one shard; "" any.
	Shard conversation.Shard
}

func (f LetterFilter) chooses(l LetterInfo) bool {
	return (f.Reason == "" || f.Reason == l.Reason) && (f.Shard == "" || string(f.Shard) == l.Shard)
}

// LetterInfo is a dead letter as it is stored. What a header doesn't hold, or
// not readably, is zero.
type LetterInfo struct {
	// Sequence is the letter's in the stream of dead letters: the SEQ of
	// `worker dead-letters`.
	Sequence uint64
	// App is whose command it was, "" where it isn't known.
	App string
	// Reason is machine-readable, Error is for people.
	Reason, Error string
	// Subject is the one that the command came on.
	Subject string
	// Shard is whose worker gave the command up; "" without shards.
	Shard string
	// CommandSequence is the command's in its stream.
	CommandSequence uint64
	// Deliveries is how often the command had been handed over.
	Deliveries uint64
	// StoredAt is when the stream first stored the command, FailedAt when the
	// worker gave it up.
	StoredAt, FailedAt time.Time
	// Header are all headers of the letter.
	Header map[string][]string
	// Size is the command's, in bytes.
	Size int
	// Data is the command, byte for byte. [Broker.Letters] leaves it out.
	Data []byte
}

// rawLetter is an element of the API's answer to MSG.GET. The API is used, and
// not the direct get of the client package, because that takes a letter without
// a body whose headers name a status for a status of the server.
type rawLetter struct {
	Message struct {
		Subject string    `json:"subject"`
		Seq     uint64    `json:"seq"`
		Header  []byte    `json:"hdrs"`
		Data    []byte    `json:"data"`
		Time    time.Time `json:"time"`
	} `json:"message"`
}

// Letters yields the dead letters without their commands, oldest first, as far as
// there are any at the beginning. It ends after the first error. It reads whole
// letters, by direct get: a consumer could leave the commands out, but who may make
// one chooses where it delivers, and nobody who lists letters should have that right.
// It needs the rights STREAM.INFO and DIRECT.GET on their stream.
func (b *Broker) Letters(ctx context.Context, filter LetterFilter) iter.Seq2[LetterInfo, error] {
	subject := subjectsOf(b.cfg.Names, b.names.letters)[0]
	if filter.App != "" {
		subject = b.names.Subject(conversation.DeadLetterSubject(filter.App))
	}
	return func(yield func(LetterInfo, error) bool) {
		state, err := b.streamState(ctx, b.names.letters)
		for next := max(1, state.First); err == nil && next <= state.Last; {
			page, perr := b.directGet(ctx, b.names.letters,
				map[string]any{"seq": next, "next_by_subj": subject, "batch": letterPage, "max_bytes": letterPageBytes})
			if err = perr; len(page) == 0 {
				break // the rest has been removed
			}
			for _, s := range page {
				if s.Sequence > state.Last {
					return
				}
				next = max(next, s.Sequence) + 1
				l := letterInfo(b.names.Unprefixed(s.Subject), s.Sequence, s.Header)
				l.Size = len(s.Data)
				if filter.chooses(l) && !yield(l, nil) {
					return
				}
			}
		}
		if err != nil {
			yield(LetterInfo{}, b.lettersProblem(err))
		}
	}
}

// Letter returns one dead letter, or ErrNoLetter.
func (b *Broker) Letter(ctx context.Context, seq uint64) (LetterInfo, error) {
	if err := b.connected(ctx); err != nil {
		return LetterInfo{}, err
	}
	l, err := b.getLetter(ctx, map[string]any{"seq": seq})
	if err != nil {
		return LetterInfo{}, fmt.Errorf("dead letter %d: %w", seq, err)
	}
	return l, nil
}

// RetryLetter publishes the command of a dead letter again, as it came, and then
// removes the letter. It goes to the subject that it came on, of whichever shard. If the
// commands' stream refuses it the letter stays. After
// an error the command may be published nevertheless; a second retry of the same
// letter reopens nothing that the first has reopened.
func (b *Broker) RetryLetter(ctx context.Context, seq uint64) error {
	l, err := b.Letter(ctx, seq)
	if err != nil {
		return err
	}
	msg, err := retryMsg(l)
	if err != nil {
		return fmt.Errorf("dead letter %d: %w", seq, err)
	}
	if subject := b.names.Subject(""); !strings.HasPrefix(l.Subject, subject) {
		return fmt.Errorf("dead letter %d stays: it came on %s, and not on a subject of this installation, which begins with %s: "+
			"publish the command (`worker dead-letters show %d`) where it belongs, and drop the letter", seq, l.Subject, subject, seq)
	}
	if err := b.publishWave(ctx, []stored{{msg, b.names.InShard(conversation.SubjectShard(b.names.Unprefixed(l.Subject))).CommandsStream()}}); err != nil {
		return fmt.Errorf("dead letter %d stays: %w", seq, err)
	}
	if err := b.DropLetter(ctx, seq); err != nil && !errors.Is(err, ErrNoLetter) {
		return fmt.Errorf("the command is published again, but not yet removed from the dead letters, which to retry again would do: %w", err)
	}
	return nil
}

// DropLetter removes a dead letter for good. It returns ErrNoLetter if there is none.
func (b *Broker) DropLetter(ctx context.Context, seq uint64) error {
	if err := b.connected(ctx); err != nil {
		return err
	}
	var answer struct {
		Success bool `json:"success"`
	}
	err := b.api(ctx, "STREAM.MSG.DELETE."+b.names.letters, map[string]any{"seq": seq, "no_erase": true}, &answer)
	if natserr.Code(err) == natserr.DeleteFailed { // of whatever cause, also that there is none
		if _, gerr := b.getLetter(ctx, map[string]any{"seq": seq}); errors.Is(gerr, ErrNoLetter) {
			err = gerr
		}
	}
	if err != nil {
		return fmt.Errorf("remove dead letter %d: %w", seq, b.lettersProblem(err))
	}
	return nil
}

// LetterRoom returns how many bytes of letters about malformed commands there is
// room for: half of their stream's limit, less its present size. The other half is
// for commands that can be retried. math.MaxInt64 where there is no limit.
func (b *Broker) LetterRoom(ctx context.Context) (int64, error) {
	s, err := b.streamState(ctx, b.names.letters)
	if err != nil || s.MaxBytes <= 0 {
		return math.MaxInt64, err
	}
	return s.MaxBytes/2 - int64(s.Bytes), nil
}

// retryMsg is the command of a letter: without Nats-*, without what the letter
// added, and with the number of the letter and the time of the first try.
func retryMsg(l LetterInfo) (*nats.Msg, error) {
	if l.Subject == "" {
		return nil, fmt.Errorf("has no %s header, which names the subject that it came on", conversation.HeaderSubject)
	}
	if len(l.Subject) > maxSubject {
		return nil, fmt.Errorf("came on a subject of %d bytes, of at most %d", len(l.Subject), maxSubject)
	}
	h := make(nats.Header, len(l.Header))
	for name, values := range l.Header {
		lower := strings.ToLower(name)
		if strings.HasPrefix(lower, "nats-") || letterHeaders[lower] || retryHeaders[lower] || !validHeader(name) {
			continue
		}
		h[name] = values
	}
	if v := nats.Header(l.Header).Get(conversation.HeaderStoredAt); v != "" {
		h[conversation.HeaderStoredAt] = []string{v}
	}
	h[conversation.HeaderRetry] = []string{strconv.FormatUint(l.Sequence, 10)}
	return &nats.Msg{Subject: l.Subject, Header: h, Data: l.Data}, nil
}

func (b *Broker) getLetter(ctx context.Context, request map[string]any) (LetterInfo, error) {
	var raw rawLetter
	if err := b.api(ctx, "STREAM.MSG.GET."+b.names.letters, request, &raw); err != nil {
		return LetterInfo{}, b.lettersProblem(err)
	}
	var h nats.Header
	if len(raw.Message.Header) > 0 {
		var err error
		if h, err = nats.DecodeHeadersMsg(raw.Message.Header); err != nil {
			return LetterInfo{}, fmt.Errorf("dead letter %d: headers: %w", raw.Message.Seq, err)
		}
	}
	l := letterInfo(b.names.Unprefixed(raw.Message.Subject), raw.Message.Seq, h)
	l.Data, l.Size = raw.Message.Data, len(raw.Message.Data)
	return l, nil
}

// letterInfo reads the headers and the subject of a letter, which is without the prefix.
func letterInfo(subject string, seq uint64, h nats.Header) LetterInfo {
	l := LetterInfo{Sequence: seq, Header: h}
	l.Reason, l.Error, l.Subject = h.Get(conversation.HeaderReason), h.Get(conversation.HeaderError), h.Get(conversation.HeaderSubject)
	l.Shard = h.Get(conversation.HeaderShard)
	l.CommandSequence = number(h.Get(conversation.HeaderStreamSequence))
	l.Deliveries = number(h.Get(conversation.HeaderDeliveries))
	l.StoredAt, l.FailedAt = moment(h.Get(conversation.HeaderStoredAt)), moment(h.Get(conversation.HeaderFailedAt))
	token := strings.TrimPrefix(subject, conversation.DeadLetterSubject("x")[:len(conversation.DeadLetterSubject("x"))-1])
	if app, err := conversation.UnescapeToken(token); err == nil && token != "_" {
		l.App = app
	}
	return l
}

func number(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func moment(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}
	}
	return t
}

// lettersProblem adds to an error about the dead letters what to do about it.
func (b *Broker) lettersProblem(err error) error {
	if natserr.Code(err) == jetstream.JSErrCodeMessageNotFound || errors.Is(err, ErrNoLetter) {
		return ErrNoLetter
	}
	return explain(b.cfg.Names, "stream "+b.names.letters, err)
}
