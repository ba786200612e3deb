package telemetry

import (
	"slices"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/purge"
)

// The words that labels have, as far as they are known beforehand. A series that
// begins with its first event would hide that event from every rate, so each
// begins at zero. The list is no bound: an SQLSTATE of a class that nobody has
// met yet is counted as well.
var (
	lanes    = []string{"express", "long"}
	outcomes = []string{"done", "retry", "reject"}
	states   = []string{"done", "failed"}
	raisers  = []string{"everyone", "hide", "sweep"}
	spans    = []string{"ended", "exported", "failed"}
	reasons  = []conversation.Reason{
		conversation.ReasonInvalidCommand, conversation.ReasonAppMismatch, conversation.ReasonScopeMismatch, conversation.ReasonCommandIDReused,
		conversation.ReasonIncompatibleID, conversation.ReasonBoundaryRequired, conversation.ReasonUnsupportedScope, conversation.ReasonAttemptsExhausted,
	}
	// malformed are those of commands that can't be retried as they are.
	malformed = []conversation.Reason{conversation.ReasonInvalidCommand, conversation.ReasonAppMismatch, conversation.ReasonScopeMismatch}

	// refusals are why events and dead letters can't be stored.
	refusals = []string{
		purge.CauseConnection, purge.CauseTimeout, purge.CauseUnavailable, "no_stream", "publish_denied", "events_full", "too_large", "store", "refused",
	}
	// pauses are the other causes for which no commands are taken.
	pauses = []string{"start", "stop", "paused", "database", "tables", "deletions", "nats", "commands", "acks", "streams"}
	// retries are the other causes for which a try is repeated.
	retries = []string{
		purge.RetryFailure, purge.RetryShared, purge.RetryLock, purge.RetryBlocked, purge.RetryLeased, purge.RetryLongLaneFull,
		string(purge.NoPermit), purge.CauseLettersFull, purge.StatementTimeout, purge.CauseServer, purge.CausePermission, purge.CauseConfiguration,
		"lock_timeout", "deadlock", "serialization", "constraint", "client", "unknown", "read_only", "resources", "origin",
	}
)

// begin makes the series of all known words.
func (m *Metrics) begin(n conversation.Names) {
	for _, lane := range lanes {
		m.Messages.WithLabelValues(lane)
		m.BatchSeconds.WithLabelValues(lane)
		m.BatchRows.WithLabelValues(lane)
		for _, state := range states {
			m.Deletions.WithLabelValues(lane, state)
		}
	}
	for _, name := range []string{n.CommandsStream(), n.EventsStream(), n.DeadLettersStream(), n.WorkerConsumer()} {
		m.Altered.WithLabelValues(name)
	}
	for _, by := range raisers {
		m.FloorsRaised.WithLabelValues(by)
	}
	for _, state := range states {
		m.Erasures.WithLabelValues(state)
	}
	for _, state := range spans {
		m.Spans.WithLabelValues(state)
	}
	for _, outcome := range outcomes {
		m.Commands.WithLabelValues(outcome)
	}
	for _, reason := range reasons {
		m.DeadLetters.WithLabelValues(string(reason))
	}
	for _, reason := range malformed {
		m.LettersOmitted.WithLabelValues(string(reason))
	}
	for _, cause := range slices.Concat(pauses, refusals) {
		m.NotPulling.WithLabelValues(cause)
	}
	for _, cause := range slices.Concat(retries, refusals) {
		m.Retries.WithLabelValues(cause)
	}
}
