package conversation

import (
	"encoding/json"
	"unicode/utf8"
)

// Identity is whom a refused command is about, as far as that can be read. A
// field is "" where it can't.
type Identity struct {
	AppID, UserID, CommandID, DeviceID string
}

// Identify reads from a command that Decode refuses whom to notify. Data must
// be one JSON object; of that, a field counts if it stands there exactly once
// and is a valid id by itself, whatever is wrong elsewhere.
func Identify(data []byte) Identity {
	start := skipSpace(data, 0)
	if start == len(data) || data[start] != '{' || !json.Valid(data) {
		return Identity{}
	}
	var id Identity
	var seen, twice field
	for rawName, value := range members(data[start:]) {
		_, known := commandField(rawName)
		twice |= seen & known
		seen |= known
		switch known {
		case fieldAppID:
			id.AppID = soundID(value, MaxAppID)
		case fieldUserID:
			id.UserID = soundID(value, MaxUserID)
		case fieldCommandID:
			id.CommandID = soundID(value, MaxCommandID)
		case fieldDeviceID:
			id.DeviceID = soundID(value, MaxDeviceID)
		default: // identifies nobody
		}
	}
	id.drop(twice)
	return id
}

// drop empties the fields of f.
func (id *Identity) drop(f field) {
	if f&fieldAppID != 0 {
		id.AppID = ""
	}
	if f&fieldUserID != 0 {
		id.UserID = ""
	}
	if f&fieldCommandID != 0 {
		id.CommandID = ""
	}
	if f&fieldDeviceID != 0 {
		id.DeviceID = ""
	}
}

// soundID returns the id that a raw value holds, or "".
func soundID(raw []byte, maxLen int) string {
	if raw[0] != '"' || len(raw)-2 > 6*maxLen || !soundString(raw) {
		return ""
	}
	s := unquote(raw)
	if idProblem(s, 1, maxLen) != "" {
		return ""
	}
	return s
}

// soundString reports whether unquote gives exactly what raw says.
func soundString(raw []byte) bool {
	return utf8.Valid(raw) && loneSurrogate(raw) < 0
}
