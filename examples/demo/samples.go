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
	began := time.Now()
	var sent, senders int64
	if err := out.during("adding messages", func() (err error) {
		sent, senders, err = p.send(s.ctx)
		return err
	}); err != nil {
		return err
	}
	out.say(fmt.Sprintf("%s of %s", count(sent, "message"), count(senders, "sender")), lasted(time.Since(began)))
	return nil
}

func (p page) send(ctx context.Context) (sent, senders int64, err error) {
	chat := api{url: "http://" + p.localAddr()}
	var messages []sample
	if err := chat.call(ctx, http.MethodGet, "/samples.json", nil, &messages); err != nil {
		return 0, 0, err
	}
	people := map[string]api{}
	for _, m := range messages {
		sender, known := people[m.From]
		if !known {
			if sender, err = chat.login(ctx, m.From); err != nil {
				return 0, 0, err
			}
			people[m.From] = sender
		}
		path, body, n := "/v1/conversations/"+url.PathEscape(m.To)+"/messages", map[string]any{"text": m.Text}, int64(1)
		if m.Older > 0 {
			path, body, n = "/v1/demo/history", map[string]any{"group": m.To, "messages": m.Older}, m.Older
		}
		if err := sender.call(ctx, http.MethodPost, path, body, nil); err != nil {
			return 0, 0, err
		}
		sent += n
	}
	return sent, int64(len(people)), nil
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
