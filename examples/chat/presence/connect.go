package presence

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/lethe-im/lethe/examples/chat/token"
)

const (
	// subprotocol is what a browser's device asks for, beside its token.
	subprotocol = "lethe.chat"
	// tokenPrefix begins the second subprotocol that a browser's device names: the
	// only header that a page can set. It is never answered, nor logged.
	tokenPrefix = "token."
)

// refusal is why a connection is not accepted.
type refusal struct {
	status     int
	reason     string
	retryAfter time.Duration // 0: another try is no use
}

// connect serves a device for as long as it is connected. A socket is accepted
// only when all that can be checked before has been.
func (s *Service) connect(w http.ResponseWriter, r *http.Request) {
	who, from, refused := s.admit(r)
	if refused == nil {
		refused = s.enter(who.User)
	}
	if refused != nil {
		refused.write(w)
		return
	}
	defer s.exit(who.User)
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols:       []string{subprotocol},
		InsecureSkipVerify: true, // admit has checked the origin
		// It would cost each connection more memory than all the rest.
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return // Accept has answered
	}
	s.serve(newDevice(conn, who, s.Config), from)
}

func (f *refusal) write(w http.ResponseWriter) {
	if f.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	if f.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.FormatFloat(math.Ceil(f.retryAfter.Seconds()), 'f', 0, 64))
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, f.reason, f.status)
}

// admit reads and checks a request to connect.
func (s *Service) admit(r *http.Request) (token.Claims, place, *refusal) {
	if !s.Hosts.OwnOrigin(r) {
		return token.Claims{}, place{}, &refusal{status: http.StatusForbidden, reason: "sent by a page of another site: open the chat's own page, or add its host to --hosts (CHAT_HOSTS)"}
	}
	who, err := s.Key.Verify(bearer(r), time.Now())
	switch {
	case err != nil:
		return who, place{}, &refusal{status: http.StatusUnauthorized, reason: err.Error() +
			": expected Authorization: Bearer, or from a page the subprotocols lethe.chat and token.<token>; not in the URL"}
	case who.App != s.App:
		return who, place{}, &refusal{status: http.StatusForbidden, reason: "the token is for another app"}
	}
	from, err := parsePlace(r.URL.Query())
	if err != nil {
		return who, place{}, &refusal{status: http.StatusBadRequest, reason: err.Error()}
	}
	return who, from, nil
}

// bearer is the token of a request, from the header or a subprotocol.
func bearer(r *http.Request) string {
	if tok, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return tok
	}
	for _, offered := range r.Header.Values("Sec-WebSocket-Protocol") {
		for name := range strings.SplitSeq(offered, ",") {
			if tok, ok := strings.CutPrefix(strings.TrimSpace(name), tokenPrefix); ok {
				return tok
			}
		}
	}
	return ""
}

// maxEpoch bounds an epoch, in bytes: it is a number in base 36.
const maxEpoch = 32

// place is where a device says that it was in the stream.
type place struct {
	cursor *uint64 // nil for a new device: it begins now
	epoch  string  // which stream it is the cursor of, "" if it didn't say
}

func parsePlace(query url.Values) (place, error) {
	from := place{epoch: query.Get("epoch")}
	if len(from.epoch) > maxEpoch {
		return place{}, fmt.Errorf("epoch: has %d bytes; expected that of hello, at most %d", len(from.epoch), maxEpoch)
	}
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

// enter counts one connection of a user, unless there are too many or the service
// is closing.
func (s *Service) enter(user string) *refusal {
	if wait := s.connects.Take(time.Now(), user, 1); wait > 0 {
		return &refusal{http.StatusTooManyRequests, "connecting too often: wait longer between tries", wait}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return &refusal{http.StatusServiceUnavailable, "shutting down: connect to another instance", time.Second}
	case s.open == s.MaxDevices:
		return &refusal{http.StatusServiceUnavailable, "full: connect to another instance", 10 * time.Second}
	case s.openOf[user] == s.MaxPerUser:
		return &refusal{http.StatusTooManyRequests, fmt.Sprintf("this user has reached the maximum number of connections, %d: close one", s.MaxPerUser), 10 * time.Second}
	}
	s.sessions.Add(1)
	s.open++
	s.openOf[user]++
	return nil
}

// exit is called once for each enter that returned nil.
func (s *Service) exit(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
	if s.openOf[user]--; s.openOf[user] == 0 {
		delete(s.openOf, user)
	}
	s.sessions.Done()
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
