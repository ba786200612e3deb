package gateway

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/lethe-im/lethe/conversation"
)

// problem is an error as the client gets to see it.
type problem struct {
	status  int
	code    string // for programs
	message string // for people

	retryAfter time.Duration // 0 where another try is no use, or 5 s for what passes without a change
}

// Error returns the message.
func (p *problem) Error() string { return p.message }

var (
	errNoRoute   = refuse(http.StatusNotFound, "not_found", "no such path: see examples/chat/README.md")
	errNoToken   = refuse(http.StatusUnauthorized, "unauthenticated", "expected the header Authorization: Bearer and a token")
	errOtherApp  = refuse(http.StatusForbidden, "forbidden", "the token is for another app")
	errNotAdmin  = refuse(http.StatusForbidden, "forbidden", "the token is not an administrator's")
	errNotOwner  = refuse(http.StatusForbidden, "forbidden", "only the owner of a shared group may delete it for everyone")
	errNotMember = refuse(http.StatusForbidden, "forbidden", "only members write to a shared group")
	errOtherPage = refuse(http.StatusForbidden, "forbidden", "sent by a page of another origin: open the gateway's own page")
	errOtherHost = refuse(http.StatusForbidden, "forbidden", "sent to a host name that is not the page's: use localhost, or add the name to --hosts (CHAT_HOSTS)")
)

func refuse(status int, code, message string) *problem {
	return &problem{status: status, code: code, message: message}
}

// unavailable is a problem that passes without a change.
func unavailable(code, message string) *problem {
	return &problem{http.StatusServiceUnavailable, code, message, 5 * time.Second}
}

func badRequest(message string) error {
	return refuse(http.StatusBadRequest, "invalid_request", message)
}

// tooMany is for who asks for more of something than the bounds allow.
func tooMany(what string, wait time.Duration) *problem {
	message := fmt.Sprintf("too many %s: try again in %.0f s", what, math.Ceil(wait.Seconds()))
	return &problem{http.StatusTooManyRequests, "rate_limited", message, wait}
}

// fail answers with an error. What is nobody's fault who called is logged, and
// the client is told to come again.
func (g *Gateway) fail(r *request, err error) {
	p := explain(err)
	if p.retryAfter > 0 {
		r.w.Header().Set("Retry-After", strconv.FormatFloat(math.Ceil(p.retryAfter.Seconds()), 'f', 0, 64))
	}
	switch {
	case p.status == http.StatusUnauthorized:
		r.w.Header().Set("WWW-Authenticate", "Bearer")
	case p.status >= http.StatusInternalServerError && !errors.Is(r.Context().Err(), context.Canceled):
		g.Log.WarnContext(r.Context(), "request failed", "method", r.Method, "route", r.Pattern, "user", r.who.User, "error", err)
	}
	body := map[string]any{"error": map[string]string{"code": p.code, "message": p.message}}
	if err := r.answer(p.status, body); err != nil {
		g.Log.ErrorContext(r.Context(), "no answer", "error", err)
	}
}

// explain turns any error into one for the client. A command that the stream
// refused, or may have stored nevertheless, can be sent again: with the same
// Idempotency-Key it is the same command.
func explain(err error) *problem {
	var p *problem
	var invalid *conversation.InvalidError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &invalid):
		return refuse(http.StatusBadRequest, "invalid_request", invalid.Error())
	case errors.Is(err, conversation.ErrTooLarge):
		return refuse(http.StatusRequestEntityTooLarge, "too_large", "name fewer conversations")
	case errors.Is(err, conversation.ErrStreamFull), errors.Is(err, conversation.ErrAppFull):
		return unavailable("busy", "too many deletions are waiting: try again")
	case errors.Is(err, conversation.ErrUnconfirmed), errors.Is(err, context.DeadlineExceeded):
		return unavailable("unconfirmed", "it is not known whether the request was done: try again with the same Idempotency-Key")
	}
	return unavailable("unavailable", "a server that this request needs is unavailable: try again")
}
