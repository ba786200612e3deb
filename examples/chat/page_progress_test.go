package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
)

const (
	hugeSize   = 100_000
	hugeGroup  = "group_huge"
	mostOfFile = 300_000 // bytes of the picture
)

// underWay keeps the worker from the messages, and tells what a worker tells of a
// long deletion, which would be over too soon here. With LETHE_SCREENSHOT it
// leaves a picture.
func underWay(t *testing.T, r *rig, p *tab) {
	p.syncOn(t)
	r.fillHuge(t)
	p.do(t, chromedp.Reload()) // the devices remember where they were
	p.awaitRow(t, phone, hugeGroup)
	p.awaitRow(t, laptop, hugeGroup)
	p.open(t, laptop, "c2c_bob")
	p.open(t, bobs, camping)
	p.remove(t, phone, camping)
	rows := grouped(r.older + 5)
	p.awaitStored(t, rows, "Alice reads none, Bob reads "+rows)
	release := r.hold(t)
	p.remove(t, phone, hugeGroup)
	r.tellProgress(t, p)
	if value[bool](t, p, `document.querySelector('#alice-laptop [data-state="deleting"]') !== null`) {
		t.Error("the laptop shows it too, although it hasn't asked")
	}
	picture(t, p)
	release()
	p.awaitNoRow(t, phone, hugeGroup)
	p.awaitNoRow(t, laptop, hugeGroup)
}

// grouped is a number below a million, with a comma.
func grouped(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}

// fillHuge makes the huge group, not quite so huge.
func (r *rig) fillHuge(t *testing.T) {
	t.Helper()
	alice := r.as(t, "alice", "alice-other")
	alice.do(t, http.MethodPost, "/v1/demo/huge", map[string]int{"messages": hugeSize}, http.StatusAccepted, nil)
	until(t, "the huge group is there", func() bool {
		var got struct {
			State string `json:"state"`
		}
		alice.do(t, http.MethodGet, "/v1/demo/huge", nil, http.StatusOK, &got)
		return got.State == "done"
	})
}

// hold keeps everybody from changing messages, until the returned function is
// called.
func (r *rig) hold(t *testing.T) (release func()) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), r.db)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	tx, err := conn.Begin(t.Context())
	if err == nil {
		_, err = tx.Exec(t.Context(), "lock table chat.messages in share mode")
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := tx.Rollback(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// tellProgress tells that 62 % of the phone's deletion is done, until the phone
// shows it: presence may not know yet that the phone has asked.
func (r *rig) tellProgress(t *testing.T, p *tab) {
	t.Helper()
	var state struct {
		Pending map[string]struct {
			CommandID      string
			Conversation   string
			First, Through int64
		}
	}
	nc, err := nats.Connect(r.nats.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	const shown = `document.querySelector('#alice-phone .row .bar[aria-valuenow="62"]') !== null`
	until(t, "the phone shows how far the deletion is", func() bool {
		text := value[string](t, p, `sessionStorage.getItem("lethe-device-alice-phone")`)
		if err := json.Unmarshal([]byte(text), &state); err != nil {
			t.Fatal(err)
		}
		for _, d := range state.Pending {
			if d.CommandID == "" {
				continue // the gateway hasn't answered yet
			}
			msg, err := conversation.Deleting{
				CommandID: d.CommandID, AppID: "demo", UserID: "alice", ConversationID: d.Conversation, ThroughSeq: d.Through,
				PurgedThroughSeq: d.First + hugeSize*62/100 - 1, MessagesDeleted: hugeSize * 62 / 100,
			}.Msg(conversation.Trace{})
			if err == nil {
				err = nc.PublishMsg(msg)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return value[bool](t, p, shown)
	})
}

// picture takes the one in docs/, and leaves it where LETHE_SCREENSHOT says.
func picture(t *testing.T, p *tab) {
	t.Helper()
	p.await(t, "the bar has come to rest", `(() => {
		const [bar] = document.querySelectorAll("#alice-phone .row .bar:not([hidden])");
		return bar.firstElementChild.offsetWidth > 0.61 * bar.offsetWidth;
	})()`)
	p.capture(t, os.Getenv("LETHE_SCREENSHOT"))
}

// capture takes a picture, and writes it if there is a file's name.
func (p *tab) capture(t *testing.T, file string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, timeout)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	if len(png) > mostOfFile {
		t.Errorf("the picture has %d bytes; want at most %d", len(png), mostOfFile)
	}
	if file != "" {
		if err := os.WriteFile(file, png, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
