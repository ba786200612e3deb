package presence

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/coder/websocket"

	"github.com/lethe-im/lethe/examples/chat/token"
)

// connect serves a device for as long as it is connected.
func (s *Service) connect(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	from, err := parsePlace(query)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if !s.enter() {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "shutting down", http.StatusServiceUnavailable)
		return
	}
	defer s.sessions.Done()
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		// The token says who it is, and no cookie: a page of another origin has
		// nothing to gain.
		InsecureSkipVerify: true,
		// It would cost each connection more memory than all the rest.
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return // Accept has answered
	}
	who, err := s.verify(query.Get("token"))
	if err != nil {
		_ = conn.Close(closeToken, err.Error()) // the device may have gone
		return
	}
	s.serve(newDevice(conn, who, s.Config), from)
}

// place is where a device says that it was in the stream.
type place struct {
	cursor *uint64 // nil for a new device: it begins now
	epoch  string  // which stream it is the cursor of, "" if it didn't say
}

func parsePlace(query url.Values) (place, error) {
	from := place{epoch: query.Get("epoch")}
	text := query.Get("cursor")
	if text == "" {
		return from, nil
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return place{}, errors.New("cursor: expected an integer of 0 or more")
	}
	from.cursor = &n
	return from, nil
}

// enter counts one session more, unless the service is closing.
func (s *Service) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.sessions.Add(1)
	return true
}

func (s *Service) verify(tok string) (token.Claims, error) {
	who, err := s.Key.Verify(tok, time.Now())
	if err == nil && who.App != s.App {
		err = errors.New("the token is for another app")
	}
	return who, err
}

// serve brings a device up to date and listens to it until one of the two ends
// the connection.
func (s *Service) serve(d *device, from place) {
	defer d.writer.Wait()
	defer d.abandon()
	defer s.hub.leave(d)
	if reason := s.hub.notReady(); reason != "" {
		d.finish(closeAway, "presence has lost NATS: reconnect with your cursor")
	} else if err := s.catchUp(s.life, d, from); err != nil {
		s.Log.Debug("device", "user", d.user, "device", d.id, "error", err)
		d.finish(closeAway, "presence could not catch up: reconnect with your cursor")
	}
	d.read()
}
