package conversation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// field is a bit for each known name, to find one that stands twice.
type field uint16

const (
	fieldCommandID field = 1 << iota
	fieldAppID
	fieldUserID
	fieldDeviceID
	fieldConversations
	fieldAllConversations
	fieldScope
	fieldKeepHistory
	fieldKeepConversation
	fieldRequestedAt
	fieldUnknown field = 0
)

const (
	fieldID field = 1 << iota
	fieldThroughSeq
)

// Decode reads one command from its JSON text and checks all rules; the error
// is an *InvalidError. Names are compared with regard to case, a known one may
// stand only once, null is the same as absent, and unknown ones are ignored, so
// that producers may be newer than workers. The result shares no memory with data.
func Decode(data []byte) (Command, error) {
	var c Command
	if err := c.decode(data); err != nil {
		return Command{}, err
	}
	return c, nil
}

func (c *Command) decode(data []byte) *InvalidError {
	if err := checkText(data); err != nil {
		return err
	}
	obj := data[skipSpace(data, 0):]
	if obj[0] != '{' {
		return &InvalidError{"command", "is " + kindOf(obj), expectObject}
	}
	var seen field
	for rawName, value := range members(obj) {
		name, known := commandField(rawName)
		if known == fieldUnknown {
			continue
		}
		if seen&known != 0 {
			return &InvalidError{name, "stands twice", "each field once"}
		}
		seen |= known
		if isNull(value) {
			continue
		}
		if err := c.set(known, name, value); err != nil {
			return err
		}
	}
	return c.validate()
}

// checkText refuses what is not one JSON text in sound UTF-8.
func checkText(data []byte) *InvalidError {
	if !utf8.Valid(data) {
		return &InvalidError{"command", fmt.Sprintf("has invalid UTF-8 at byte %d", firstInvalid(data)), expectObject}
	}
	if !json.Valid(data) {
		return &InvalidError{"command", syntaxProblem(data), expectObject}
	}
	if i := loneSurrogate(data); i >= 0 {
		return &InvalidError{"command", fmt.Sprintf("has half of a surrogate pair at byte %d", i), expectObject}
	}
	return nil
}

func firstInvalid(data []byte) int {
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(data)
}

func syntaxProblem(data []byte) string {
	if len(bytes.TrimLeft(data, " \t\r\n")) == 0 {
		return "is empty"
	}
	var raw json.RawMessage
	var se *json.SyntaxError
	if err := json.Unmarshal(data, &raw); errors.As(err, &se) {
		return fmt.Sprintf("is not valid JSON at byte %d: %s", se.Offset, se.Error())
	}
	return "is not valid JSON"
}

// commandField returns the name and the bit of a known field of a command.
func commandField(raw []byte) (string, field) {
	if bytes.IndexByte(raw, '\\') >= 0 {
		raw = strconv.AppendQuote(nil, unquote(raw))
	}
	switch string(raw) {
	case `"command_id"`:
		return "command_id", fieldCommandID
	case `"app_id"`:
		return "app_id", fieldAppID
	case `"user_id"`:
		return "user_id", fieldUserID
	case `"device_id"`:
		return "device_id", fieldDeviceID
	case `"conversations"`:
		return "conversations", fieldConversations
	case `"all_conversations"`:
		return "all_conversations", fieldAllConversations
	case `"scope"`:
		return "scope", fieldScope
	case `"keep_history"`:
		return "keep_history", fieldKeepHistory
	case `"keep_conversation"`:
		return "keep_conversation", fieldKeepConversation
	case `"requested_at"`:
		return "requested_at", fieldRequestedAt
	}
	return "", fieldUnknown
}

// set takes over one value that isn't null.
func (c *Command) set(f field, name string, value []byte) (err *InvalidError) {
	switch f {
	case fieldCommandID:
		c.CommandID, err = decodeID(name, value, 1, MaxCommandID)
	case fieldAppID:
		c.AppID, err = decodeID(name, value, 1, MaxAppID)
	case fieldUserID:
		c.UserID, err = decodeID(name, value, 1, MaxUserID)
	case fieldDeviceID:
		c.DeviceID, err = decodeID(name, value, 0, MaxDeviceID)
	case fieldConversations:
		c.Conversations, err = decodeTargets(value)
	case fieldAllConversations:
		c.AllConversations, err = decodeBool(name, value)
	case fieldScope:
		c.Scope, err = decodeScope(name, value)
	case fieldKeepHistory:
		c.KeepHistory, err = decodeBool(name, value)
	case fieldKeepConversation:
		c.KeepConversation, err = decodeBool(name, value)
	case fieldRequestedAt:
		c.RequestedAt, err = decodeTime(name, value)
	default: // unknown: a producer may be newer
	}
	return err
}

// decodeTargets refuses an empty array, also beside all_conversations: nobody knows which
// of the two is meant.
func decodeTargets(raw []byte) ([]Target, *InvalidError) {
	if raw[0] != '[' {
		return nil, &InvalidError{"conversations", "is " + kindOf(raw), expectConversations}
	}
	var targets []Target
	for i, value := range elements(raw) {
		if i == MaxConversations {
			return nil, &InvalidError{"conversations", "has more than " + strconv.Itoa(MaxConversations) + " elements", expectConversations}
		}
		t, err := decodeTarget(value, i)
		if err != nil {
			return nil, err
		}
		targets = append(targets, t)
	}
	if len(targets) == 0 {
		return nil, noTargets()
	}
	return targets, nil
}

func decodeTarget(raw []byte, i int) (Target, *InvalidError) {
	var t Target
	if raw[0] != '{' {
		return t, &InvalidError{"conversations[" + strconv.Itoa(i) + "]", "is " + kindOf(raw), "an object with an id"}
	}
	var seen field
	for rawName, value := range members(raw) {
		name, known := targetName(rawName)
		if known == fieldUnknown {
			continue
		}
		if seen&known != 0 {
			return t, &InvalidError{targetField(i, name), "stands twice", "each field once"}
		}
		seen |= known
		if isNull(value) {
			continue
		}
		var err *InvalidError
		if known == fieldID {
			t.ID, err = decodeID(name, value, 1, MaxConversationID)
		} else {
			t.ThroughSeq, err = decodeSeq(name, value)
		}
		if err != nil {
			err.Field = targetField(i, name)
			return t, err
		}
	}
	return t, nil
}

// targetName returns the name and the bit of a known field of a target.
func targetName(raw []byte) (string, field) {
	if bytes.IndexByte(raw, '\\') >= 0 {
		raw = strconv.AppendQuote(nil, unquote(raw))
	}
	switch string(raw) {
	case `"id"`:
		return "id", fieldID
	case `"through_seq"`:
		return "through_seq", fieldThroughSeq
	}
	return "", fieldUnknown
}

// decodeID checks the type, and the length before it copies anything long; the
// other rules are Validate's. An escape takes at most 6 bytes for each of the id.
func decodeID(name string, raw []byte, minLen, maxLen int) (string, *InvalidError) {
	if raw[0] != '"' {
		return "", &InvalidError{name, "is " + kindOf(raw), expectID(minLen, maxLen)}
	}
	if len(raw)-2 > 6*maxLen {
		return "", &InvalidError{name, "is too long", expectID(minLen, maxLen)}
	}
	return unquote(raw), nil
}

// decodeScope refuses the empty string, which means the default only in Go.
func decodeScope(name string, raw []byte) (string, *InvalidError) {
	if raw[0] != '"' {
		return "", &InvalidError{name, "is " + kindOf(raw), expectScope}
	}
	switch s := unquote(raw); s {
	case ScopeSelf, ScopeEveryone:
		return s, nil
	}
	return "", &InvalidError{name, "is unknown", expectScope}
}

func decodeBool(name string, raw []byte) (bool, *InvalidError) {
	if raw[0] != 't' && raw[0] != 'f' {
		return false, &InvalidError{name, "is " + kindOf(raw), "true or false"}
	}
	return raw[0] == 't', nil
}

// decodeSeq takes digits alone: JSON counts 1.0 and 1e3 as integers, but many
// readers would have rounded such a number on the way.
func decodeSeq(name string, raw []byte) (*int64, *InvalidError) {
	if raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
		return nil, &InvalidError{name, "is " + kindOf(raw), expectSeq}
	}
	for _, c := range raw {
		if c < '0' || c > '9' {
			return nil, &InvalidError{name, "is negative, a fraction or in exponent form", expectSeq}
		}
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return nil, &InvalidError{name, "is too large", expectSeq}
	}
	return &n, nil
}
