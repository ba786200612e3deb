package conversation

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
)

// ErrUnknownType is wrapped by ParseEvent for a type of event that this version
// of the package doesn't know. A receiver skips such an event.
var ErrUnknownType = errors.New("unknown type of event")

// ParseEvent reads an event from the parts of a message of any kind: *nats.Msg,
// jetstream.Msg or a stream's raw message. Fields that it doesn't know are
// ignored. With a subject, the body must be about the subject's app and user,
// since permissions are given by subject; without one, that is not checked.
// Sequence stays 0: only the caller knows it.
func ParseEvent(subject string, header nats.Header, data []byte) (Event, error) {
	return parseEvent(Names{}, subject, header, data)
}

func parseEvent(n Names, subject string, header nats.Header, data []byte) (Event, error) {
	e := Event{
		ID:     header.Get(HeaderEventID),
		Type:   header.Get(HeaderEventType),
		Source: header.Get(HeaderEventSource),
		Trace:  TraceOf(header),
	}
	if v := header.Get(HeaderSpecVersion); !strings.HasPrefix(v, "1.") {
		return Event{}, fmt.Errorf("%s: is %.20q; expected 1.0", HeaderSpecVersion, v)
	}
	if e.ID == "" {
		return Event{}, errors.New(HeaderEventID + ": is missing")
	}
	if err := e.Time.UnmarshalText([]byte(header.Get(HeaderEventTime))); err != nil {
		return Event{}, fmt.Errorf("%s: is not RFC 3339", HeaderEventTime)
	}
	app, user, err := e.decodeBody(data)
	if err != nil {
		return Event{}, err
	}
	if app == "" || user == "" {
		return Event{}, fmt.Errorf("%s: app_id or user_id is missing", e.Type)
	}
	if want := n.Subject(eventSubject(e.Type, app, user)); subject != "" && subject != want {
		return Event{}, fmt.Errorf("%s: came on %.400q; expected %.400q by its body", e.Type, subject, want)
	}
	return e, nil
}

// decodeBody reads data into the field of e that its type names.
func (e *Event) decodeBody(data []byte) (app, user string, err error) {
	switch e.Type {
	case TypeDeleted:
		e.Deleted = &Deleted{Erased: true} // workers that knew only copies left it out
		err = json.Unmarshal(data, e.Deleted)
		app, user = e.Deleted.AppID, e.Deleted.UserID
	case TypeErased:
		e.Erased = new(Erased)
		err = json.Unmarshal(data, e.Erased)
		app, user = e.Erased.AppID, e.Erased.UserID
	case TypeAllDeleted:
		e.AllDeleted = new(AllDeleted)
		err = json.Unmarshal(data, e.AllDeleted)
		app, user = e.AllDeleted.AppID, e.AllDeleted.UserID
	case TypeDeleteFailed:
		e.Failed = new(DeleteFailed)
		err = json.Unmarshal(data, e.Failed)
		app, user = e.Failed.AppID, e.Failed.UserID
	case TypeDeleting:
		e.Deleting = new(Deleting)
		err = json.Unmarshal(data, e.Deleting)
		app, user = e.Deleting.AppID, e.Deleting.UserID
	default:
		return "", "", fmt.Errorf("%s: %w: %.60q", HeaderEventType, ErrUnknownType, e.Type)
	}
	if err != nil {
		return "", "", fmt.Errorf("%s: %w", e.Type, err)
	}
	return app, user, nil
}
