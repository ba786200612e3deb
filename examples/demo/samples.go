package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// sample is a message that is there when the page opens. The page has them.
type sample struct {
	From string `json:"from"`
	To   string `json:"to"` // the conversation, as its sender names it
	Text string `json:"text"`
	// Older is how many older messages a shared group gets, instead of the text.
	Older int64 `json:"older"`
}

// samples sends some messages through the gateway, each as its sender.
func (p page) samples(out *printer, s *stack) error {
	lap, older := time.Now(), int64(0)
	chat := api{url: "http://" + p.localAddr()}
	var messages []sample
	if err := chat.call(s.ctx, http.MethodGet, "/samples.json", nil, &messages); err != nil {
		return err
	}
	people := map[string]api{}
	for _, m := range messages {
		sender, known := people[m.From]
		if !known {
			var err error
			if sender, err = chat.login(s.ctx, m.From); err != nil {
				return err
			}
			people[m.From] = sender
		}
		path, body := "/v1/conversations/"+url.PathEscape(m.To)+"/messages", map[string]any{"text": m.Text}
		if m.Older > 0 {
			path, body = "/v1/demo/history", map[string]any{"group": m.To, "messages": m.Older}
			older += m.Older - 1
		}
		if err := sender.call(s.ctx, http.MethodPost, path, body, nil); err != nil {
			return err
		}
	}
	out.say(fmt.Sprintf("%s of %s", count(int64(len(messages))+older, "message"), count(len(people), "sender")), lasted(time.Since(lap)))
	return nil
}

// api calls the example chat's gateway.
type api struct{ url, token string }

// login gets a token of the demo.
func (a api) login(ctx context.Context, user string) (api, error) {
	var got struct {
		Token string `json:"token"`
	}
	err := a.call(ctx, http.MethodPost, "/v1/demo/token", map[string]string{"user": user, "device": user + "-samples"}, &got)
	return api{a.url, got.Token}, err
}

// call sends body, unless it is nil, as JSON, and reads the answer into v, unless
// that is nil.
func (a api) call(ctx context.Context, method, path string, body, v any) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, a.url+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close() //nolint:errcheck // it was read to its end
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, answer)
	}
	if v == nil {
		return nil
	}
	return json.Unmarshal(answer, v)
}
