package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/natserr"
	"github.com/lethe-im/lethe/internal/retry"
)

const (
	// readyTimeout is how long setup waits for a JetStream that isn't ready yet.
	readyTimeout = 15 * time.Second
	// answerTimeout is how long it waits where nobody answers: almost always
	// because JetStream isn't enabled.
	answerTimeout = 2 * time.Second
	// setupRounds is how often setup starts again because somebody else changed
	// the same thing meanwhile.
	setupRounds = 10
)

// SetupReport is what Setup found and did, in order.
type SetupReport struct {
	Parts []SetupPart
}

// SetupPart is one stream or consumer.
type SetupPart struct {
	// Kind is "stream" or "consumer".
	Kind string `json:"kind"`
	// Name is the stream's or the consumer's.
	Name string `json:"name"`
	// Action is "created", "updated", "unchanged" or "failed".
	Action string `json:"action"`
	// Changes are, for people, what was updated.
	Changes []string `json:"changes,omitempty"`
}

// What setup did about a part.
const (
	actionCreated   = "created"
	actionUpdated   = "updated"
	actionUnchanged = "unchanged"
	actionFailed    = "failed"
)

// Setup creates the streams and the workers' consumer, or brings those that
// exist to what the table of properties requires; what an operator has tuned
// beyond that stays. To repeat it, or to run it from several workers at once, is
// safe. Where nothing is to change it needs only the right to read. It does all that it
// can; the error has a line for each thing that it couldn't do.
func (b *Broker) Setup(ctx context.Context, o SetupOptions) (SetupReport, error) {
	g, err := b.goal(ctx, o)
	if err != nil {
		return SetupReport{}, err
	}
	var report SetupReport
	var errs []error
	parts := b.parts(g)
	for _, p := range parts { // before anything is made: the names may have to be others
		if _, err := p.check(ctx); errors.Is(err, errOthers) {
			return SetupReport{[]SetupPart{p.failed()}}, err
		}
	}
	for _, p := range parts {
		done, err := whileNotReady(ctx, func() (SetupPart, error) { return p.setup(ctx) })
		if len(errs) > 0 && errs[0] != nil && errors.Is(err, jetstream.ErrStreamNotFound) {
			break // the consumer, of a stream that couldn't be made
		}
		report.Parts, errs = append(report.Parts, done), append(errs, err)
		if silent(err) || errors.Is(err, errOthers) { // and so would the others be
			break
		}
	}
	return report, errors.Join(errs...)
}

// goal is what the streams and the consumer have to be for the options.
func (b *Broker) goal(ctx context.Context, o SetupOptions) (goal, error) {
	if err := o.validate(); err != nil {
		return goal{}, err
	}
	if err := b.connected(ctx); err != nil {
		return goal{}, err
	}
	if err := checkServer(b.nc, oldestServer, "Lethe"); err != nil {
		return goal{}, err
	}
	largest, err := maxCommand(b.nc.MaxPayload())
	return goal{SetupOptions: o, names: b.cfg.Names, maxCommand: largest, ackWait: b.cfg.AckWait, now: time.Now()}, err
}

// errOthers: the stream is another installation's, or has nothing to do with Lethe.
var errOthers = errors.New("not this installation's")

// checkOwner returns an error if the stream isn't the installation's: if it is that of one with another
// prefix, of which the same stream's name is made, or has none of Lethe's subjects, nor the description
// that setup gives it, which stays where somebody takes the subjects away.
func checkOwner(n conversation.Names, have streamConfig, description string) error {
	for _, subject := range have.Subjects {
		end := strings.LastIndex(subject, ".conversation.") // the prefix may have that word, too
		if end < 0 {
			continue
		}
		other, err := conversation.NewNames(subject[:end])
		if err == nil && other.Prefix() != n.Prefix() && other.Stream("") == n.Stream("") {
			return fmt.Errorf("stream %s is %w, but of one with the prefix %s: set another --subject-prefix than %s", have.Name, errOthers, other.Prefix(), n.Prefix())
		}
	}
	if description != "" && have.Description == description || hasSubjectOf(n, have) {
		return nil
	}
	found := "no subjects"
	if len(have.Subjects) > 0 {
		found = "the subjects " + strings.Join(have.Subjects, ", ")
	}
	return fmt.Errorf("stream %s is %w: it has %s, and none of %s: %s, or give that stream another name",
		have.Name, errOthers, found, strings.Join(subjectsOf(n, have.Name), ", "), otherPrefix(n))
}

// hasSubjectOf reports whether one of the stream's subjects is Lethe's, or takes some of them in.
func hasSubjectOf(n conversation.Names, have streamConfig) bool {
	return slices.ContainsFunc(subjectsOf(n, have.Name), func(w string) bool {
		return slices.ContainsFunc(have.Subjects, func(s string) bool { return covers(s, w) || covers(w, s) })
	})
}

// otherPrefix is what to do about names that are taken.
func otherPrefix(n conversation.Names) string {
	if n.Prefix() == "" {
		return "set --subject-prefix, which begins all names of this installation"
	}
	return "set another --subject-prefix than " + n.Prefix()
}

// overlapError is the server's refusal of subjects that another stream has.
type overlapError struct {
	stream string // "" if this NATS user may not ask for it
	names  conversation.Names
	err    error
}

func (e *overlapError) Error() string {
	which := "stream " + e.stream + " has some of its subjects: remove them there"
	if e.stream == "" {
		which = "another stream has some of its subjects: find it with `nats stream ls --subject '" + e.names.Subject("conversation.>") + "'` and remove them there"
	}
	return fmt.Sprintf("%s, or %s: %v", which, otherPrefix(e.names), e.err)
}

func (e *overlapError) Unwrap() error { return e.err }

// findOverlap adds to the server's refusal of subjects the stream that has them, if this
// NATS user may ask for it.
func (b *Broker) findOverlap(ctx context.Context, config streamConfig, refusal error) error {
	if natserr.Code(refusal) != natserr.SubjectOverlap {
		return refusal
	}
	found := &overlapError{names: b.names.Names, err: refusal}
	for _, subject := range config.Subjects {
		err := b.ask(ctx, "STREAM.NAMES", func(ctx context.Context) error {
			list := b.js.StreamNames(ctx, jetstream.WithStreamListSubject(subject))
			for name := range list.Name() {
				if name != config.Name {
					found.stream = name
				}
			}
			return list.Err()
		})
		if err != nil || found.stream != "" {
			break
		}
	}
	return found
}

// silent reports whether nobody answers.
func silent(err error) bool {
	return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, context.Canceled) || errors.Is(err, jetstream.ErrJetStreamNotEnabled) ||
		errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount)
}

// whileNotReady repeats what failed because JetStream isn't ready, as just after the
// start of a server or while a leader is elected.
func whileNotReady[T any](ctx context.Context, do func() (T, error)) (T, error) {
	began := time.Now()
	return retry.Do(ctx, retry.Policy{First: 50 * time.Millisecond, Max: time.Second, Total: readyTimeout}, do, func(err error) bool {
		return notReady(err) && !(errors.Is(err, nats.ErrNoResponders) && time.Since(began) > answerTimeout)
	})
}

// notReady reports whether the server may do it in a moment.
func notReady(err error) bool {
	switch natserr.Code(err) {
	case natserr.Unavailable, natserr.NoLeader, natserr.StreamOffline, natserr.StreamOfflineBecause:
		return true
	}
	var d *natserr.Denial
	return !errors.As(err, &d) && (errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrDisconnected))
}

// setupProblem adds to an error about a stream or consumer what to do about it.
func setupProblem(n conversation.Names, what string, err error) error {
	explained := explain(n, what, err)
	if strings.Contains(explained.Error(), what) { // names it itself
		return explained
	}
	return fmt.Errorf("%s: %w", what, explained)
}
