package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lethe-im/lethe/examples/chat/token"
)

// maxBody is more than 100 conversations with ids of 256 bytes need.
const maxBody = 256 << 10

// answerTime bounds the work for one request, so that a slow database isn't asked
// for what nobody waits for any more.
const answerTime = 15 * time.Second

// request is one call of the API by somebody who is known.
type request struct {
	*http.Request
	w    http.ResponseWriter
	who  token.Claims
	code int // of the answer, 0 before it
}

// authenticated serves h to bearers of a token for this app.
func (g *Gateway) authenticated(h func(*request) error) http.Handler {
	return g.public(func(r *request) error {
		tok, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !found {
			return errNoToken
		}
		who, err := g.Key.Verify(tok, g.clock())
		if err != nil {
			return refuse(http.StatusUnauthorized, "unauthenticated", err.Error())
		}
		if who.App != g.App {
			return errOtherApp
		}
		r.who = who
		if wait := g.requests.Take(g.clock(), who.User, 1); wait > 0 {
			return tooMany("requests", wait)
		}
		return h(r)
	})
}

// public serves h to anybody.
func (g *Gateway) public(h func(*request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, hr *http.Request) {
		ctx, cancel := context.WithTimeout(hr.Context(), answerTime)
		defer cancel()
		r := &request{Request: hr.WithContext(ctx), w: w}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		w.Header().Set("Cache-Control", "no-store")
		if err := h(r); err != nil {
			g.fail(r, err)
		}
	})
}

// body reads the request's JSON into v; an empty body leaves v as it is.
func (r *request) body(v any) error {
	data, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return refuse(http.StatusRequestEntityTooLarge, "too_large", fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit))
	case err != nil:
		return badRequest("the body ended early, or arrived too slowly")
	case !utf8.Valid(data): // it would be mended, so that two ids become one
		return badRequest("the body is not UTF-8")
	case len(strings.TrimSpace(string(data))) == 0:
		return nil
	}
	if err := json.Unmarshal(data, v); err != nil {
		return badRequest("the body is not the JSON that was expected: " + err.Error())
	}
	return nil
}

// answer writes v as JSON.
func (r *request) answer(code int, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	r.w.Header().Set("Content-Type", "application/json")
	r.w.WriteHeader(code)
	_, _ = r.w.Write(append(data, '\n')) // the client has gone, if it fails
	return nil
}

// number reads a query parameter, or returns otherwise where there is none.
func (r *request) number(name string, otherwise, least, most int64) (int64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > most {
		return 0, badRequest(fmt.Sprintf("%s: expected an integer from %d to %d", name, least, most))
	}
	return n, nil
}

// from is where a request may be answered from: with fresh=true the database that
// is written to, and otherwise one that may lag behind.
func (g *Gateway) from(r *request) (store, error) {
	switch r.URL.Query().Get("fresh") {
	case "", "false":
		if s := g.storeOf(r.who.App, r.who.User); s != g.store {
			return s, nil // which has no standby here
		}
		return g.reads, nil
	case "true":
		return g.storeOf(r.who.App, r.who.User), nil
	}
	return store{}, badRequest("fresh: expected true or false")
}

// reader is from for the history of one conversation. That of a shared group has no standby here.
func (g *Gateway) reader(r *request, id string) (reader, error) {
	from, err := g.from(r)
	if in, ok := g.groups(); ok && g.shared(id) {
		return in, err
	}
	return from, err
}

// idAndVerb takes the last segment of the path apart: an id, percent-encoded, a
// colon that isn't, and a verb. ServeMux has no pattern for that, and has decoded
// the segment already, so that an id that ends in ":delete" would look like one
// without its end.
func (r *request) idAndVerb() (id, verb string, err error) {
	path := r.URL.EscapedPath()
	segment := path[strings.LastIndexByte(path, '/')+1:]
	colon := strings.LastIndexByte(segment, ':')
	if colon < 0 {
		return "", "", errNoRoute
	}
	if id, err = url.PathUnescape(segment[:colon]); err != nil {
		return "", "", badRequest("the conversation's id is not percent-encoded: " + err.Error())
	}
	return id, segment[colon+1:], nil
}
