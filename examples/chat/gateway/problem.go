package gateway

import (
	"context"
	"errors"
	"net/http"

	"github.com/lethe-im/lethe/conversation"
)

// problem is an error as the client gets to see it.
type problem struct {
	status  int
	code    string // for programs
	message string // for people
}

// Error returns the message.
func (p *problem) Error() string { return p.message }

var (
	errNoRoute  = &problem{http.StatusNotFound, "not_found", "there is nothing here: see examples/chat/README.md"}
	errNoToken  = &problem{http.StatusUnauthorized, "unauthenticated", "expected the header Authorization: Bearer and a token"}
	errOtherApp = &problem{http.StatusForbidden, "forbidden", "the token is for another app"}
	errNotAdmin = &problem{http.StatusForbidden, "forbidden", "the token is not an administrator's"}
)

func badRequest(message string) error {
	return &problem{http.StatusBadRequest, "invalid_request", message}
}

// fail answers with an error. What is nobody's fault who called is logged, and
// the client is told to come again.
func (g *Gateway) fail(r *request, err error) {
	p := explain(err)
	switch {
	case p.status == http.StatusUnauthorized:
		r.w.Header().Set("WWW-Authenticate", "Bearer")
	case p.status >= http.StatusInternalServerError && r.Context().Err() == nil:
		r.w.Header().Set("Retry-After", "5")
		g.Log.WarnContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "user", r.who.User, "error", err)
	}
	body := map[string]any{"error": map[string]string{"code": p.code, "message": p.message}}
	if err := r.answer(p.status, body); err != nil {
		g.Log.ErrorContext(r.Context(), "no answer", "error", err)
	}
}

// explain turns any error into one for the client. A command that the stream
// refused, or may have stored all the same, can be sent again: with the same
// Idempotency-Key it is the same command.
func explain(err error) *problem {
	var p *problem
	var invalid *conversation.InvalidError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &invalid):
		return &problem{http.StatusBadRequest, "invalid_request", invalid.Error()}
	case errors.Is(err, conversation.ErrTooLarge):
		return &problem{http.StatusRequestEntityTooLarge, "too_large", "name fewer conversations"}
	case errors.Is(err, conversation.ErrStreamFull), errors.Is(err, conversation.ErrAppFull):
		return &problem{http.StatusServiceUnavailable, "busy", "too many deletions are waiting: try again"}
	case errors.Is(err, conversation.ErrUnconfirmed), errors.Is(err, context.DeadlineExceeded):
		return &problem{http.StatusServiceUnavailable, "unconfirmed", "nobody knows whether it was done: try again with the same Idempotency-Key"}
	}
	return &problem{http.StatusServiceUnavailable, "unavailable", "something that this needs is away: try again"}
}
