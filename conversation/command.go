package conversation

import (
	"fmt"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"
)

// Scopes of a command: whose history goes.
const (
	// ScopeSelf is the user's own; an empty Scope means the same.
	ScopeSelf = "self"
	// ScopeEveryone is that of all members.
	ScopeEveryone = "everyone"
)

// Command asks for the deletion of 1 to MaxConversations conversations of one user, or
// of all. Read one with Decode, which is strict; json.Unmarshal is not.
type Command struct {
	// CommandID is unique within the app, 1 to MaxCommandID bytes. The same
	// command sent again is the same deletion; the same id with other content
	// is refused. Client.Delete fills an empty one.
	CommandID string `json:"command_id"`
	// AppID is the tenant, 1 to MaxAppID bytes.
	AppID string `json:"app_id"`
	// UserID is whose history goes, and with ScopeEveryone who asks; 1 to MaxUserID bytes.
	UserID string `json:"user_id"`
	// DeviceID is the client that asked, at most MaxDeviceID bytes. Empty means
	// that it isn't known.
	DeviceID string `json:"device_id,omitempty"`
	// Conversations are what to delete, each id once.
	Conversations []Target `json:"conversations,omitempty"`
	// AllConversations asks, instead of Conversations, for all that the user has when the
	// stream stores the command.
	AllConversations bool `json:"all_conversations,omitempty"`
	// Scope is ScopeSelf, also where it is empty, or ScopeEveryone: the history goes for
	// every member. Not together with AllConversations or KeepHistory. Such a command has a
	// subject that the producer needs a permission for, see DeleteEveryoneSubject.
	Scope string `json:"scope,omitempty"`
	// KeepHistory removes the conversations' rows alone and leaves the messages.
	KeepHistory bool `json:"keep_history,omitempty"`
	// KeepConversation deletes the messages alone and leaves the conversations in the list.
	// Not together with KeepHistory.
	KeepConversation bool `json:"keep_conversation,omitempty"`
	// RequestedAt is when the user asked; the zero time means that it isn't
	// known. It is repeated in the event, in UTC, and decides nothing.
	RequestedAt time.Time `json:"requested_at,omitzero"`
}

// Target is one conversation of a command.
type Target struct {
	// ID is the conversation, 1 to MaxConversationID bytes.
	ID string `json:"id"`
	// ThroughSeq is the last seq to delete, 0 or more; what came later survives.
	// Nil means all that had been sent when the command was stored.
	ThroughSeq *int64 `json:"through_seq,omitempty"`
}

// InvalidError says which field of a command breaks which rule. All its texts
// are short and printable, whatever the command held.
type InvalidError struct {
	// Field is the field's path, such as conversations[3].through_seq, or
	// "command" for the document as a whole.
	Field string
	// Problem is what was found.
	Problem string
	// Expected is what should have been there.
	Expected string
}

// Error returns one line that names the field, the problem and the expectation.
func (e *InvalidError) Error() string {
	return e.Field + ": " + e.Problem + "; expected " + e.Expected
}

// Validate checks the same rules as Decode, except those of the JSON text. The
// error is an *InvalidError for the first problem in the order of the fields.
func (c Command) Validate() error {
	if err := c.validate(); err != nil {
		return err
	}
	return nil
}

func (c *Command) validate() *InvalidError {
	if err := checkID("command_id", c.CommandID, 1, MaxCommandID); err != nil {
		return err
	}
	if err := checkID("app_id", c.AppID, 1, MaxAppID); err != nil {
		return err
	}
	if err := checkID("user_id", c.UserID, 1, MaxUserID); err != nil {
		return err
	}
	if err := checkID("device_id", c.DeviceID, 0, MaxDeviceID); err != nil {
		return err
	}
	if err := c.checkForm(); err != nil {
		return err
	}
	return checkTime("requested_at", c.RequestedAt)
}

// checkForm checks what is to go, and that its parts agree.
func (c *Command) checkForm() *InvalidError {
	switch everyone := c.Scope == ScopeEveryone; {
	case c.Scope != "" && c.Scope != ScopeSelf && !everyone:
		return &InvalidError{"scope", "is unknown", expectScope}
	case c.AllConversations && len(c.Conversations) > 0:
		return exclusive("all_conversations", "conversations")
	case c.AllConversations && everyone:
		return exclusive("all_conversations", `the scope "everyone"`)
	case c.KeepHistory && everyone:
		return exclusive("keep_history", `the scope "everyone"`)
	case c.KeepHistory && c.KeepConversation:
		return exclusive("keep_history", "keep_conversation")
	case c.AllConversations:
		return nil
	}
	return checkTargets(c.Conversations)
}

func exclusive(field, other string) *InvalidError {
	return &InvalidError{field, "stands beside " + other, "one of the two alone"}
}

func checkTargets(targets []Target) *InvalidError {
	if len(targets) == 0 {
		return noTargets()
	}
	if len(targets) > MaxConversations {
		return &InvalidError{"conversations", "has more than " + strconv.Itoa(MaxConversations) + " elements", expectConversations}
	}
	for i := range targets {
		if err := checkTarget(targets, i); err != nil {
			return err
		}
	}
	return nil
}

func noTargets() *InvalidError {
	return &InvalidError{"conversations", "is missing or empty", expectConversations}
}

// checkTarget compares with each earlier target: at most 100 × 99 / 2 short
// comparisons, and no allocation for the usual few.
func checkTarget(targets []Target, i int) *InvalidError {
	t := &targets[i]
	if p := idProblem(t.ID, 1, MaxConversationID); p != "" {
		return &InvalidError{targetField(i, "id"), p, expectID(1, MaxConversationID)}
	}
	if t.ThroughSeq != nil && *t.ThroughSeq < 0 {
		return &InvalidError{targetField(i, "through_seq"), "is negative", expectSeq}
	}
	for j := range i {
		if targets[j].ID == t.ID {
			return &InvalidError{targetField(i, "id"), "is the same as " + targetField(j, "id"), "each conversation once"}
		}
	}
	return nil
}

// What fields should hold, for InvalidError.Expected.
const (
	expectObject        = "one JSON object (UTF-8)"
	expectConversations = "an array of 1 to 100 objects, each with an id"
	expectScope         = `"self" or "everyone"`
	expectSeq           = "an integer from 0 to 9223372036854775807, in digits only"
	expectTime          = "an RFC 3339 time such as 2026-11-23T09:00:00Z"
)

func expectID(minLen, maxLen int) string {
	if minLen == 0 {
		return fmt.Sprintf("a string of at most %d bytes without control characters", maxLen)
	}
	return fmt.Sprintf("a string of %d to %d bytes without control characters", minLen, maxLen)
}

func checkID(field, id string, minLen, maxLen int) *InvalidError {
	if p := idProblem(id, minLen, maxLen); p != "" {
		return &InvalidError{field, p, expectID(minLen, maxLen)}
	}
	return nil
}

// idProblem returns what is wrong with an id, or "".
func idProblem(id string, minLen, maxLen int) string {
	switch {
	case len(id) < minLen:
		return "is missing or empty"
	case len(id) > maxLen:
		return fmt.Sprintf("is %d bytes long", len(id))
	case !utf8.ValidString(id):
		return "is not valid UTF-8"
	}
	for i, r := range id {
		if unicode.IsControl(r) {
			return fmt.Sprintf("has the control character %U at byte %d", r, i)
		}
	}
	return ""
}

// checkTime refuses what RFC 3339 can't write in UTC, as the event must.
func checkTime(field string, t time.Time) *InvalidError {
	if y := t.UTC().Year(); y < 0 || y > 9999 {
		return &InvalidError{field, fmt.Sprintf("is in the year %d", y), "a time of the years 0 to 9999 in UTC"}
	}
	return nil
}

func targetField(i int, name string) string {
	return "conversations[" + strconv.Itoa(i) + "]." + name
}
