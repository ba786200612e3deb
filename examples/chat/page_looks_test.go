package main

import (
	_ "embed" // for the script
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// looks is a script that returns what is wrong with the page as it is.
//
//go:embed testdata/looks.js
var looks string

// windows are the sizes that the page is looked at in.
var windows = [][2]int64{{1440, 900}, {1280, 720}, {1024, 768}, {768, 1024}, {390, 844}}

// readable holds each of the page's main states against WCAG AA's contrasts, in light and in
// dark, and against what must not happen in windows of any size: that something is cut off, or
// that a toast covers what one uses. With LETHE_SCREENSHOTS it leaves a picture of each there.
func readable(t *testing.T, r *rig, p *tab) {
	r.fillHuge(t)
	p.syncOn(t)
	p.do(t, chromedp.Reload()) // for the huge group
	p.awaitRow(t, phone, hugeGroup)
	p.inWindows(t, "list")

	p.open(t, phone, "group_book_club")
	p.open(t, laptop, "c2c_bob")
	p.open(t, bobs, camping)
	p.inWindows(t, "open")
	p.click(t, "#alice-phone "+back)

	p.click(t, row(phone, "c2c_bob")+` [data-part="delete"]`)
	p.inWindows(t, "question")
	p.click(t, "#confirm-no")

	p.remove(t, phone, camping)
	p.awaitStored(t, "5", "Alice reads none, Bob reads 5")
	p.keepToast(t)
	p.inWindows(t, "toast")
	release := r.hold(t)
	p.remove(t, phone, hugeGroup)
	r.tellProgress(t, p)
	p.inWindows(t, "deleting")
	p.open(t, phone, hugeGroup)
	p.inWindows(t, "deleting-open")
	release()
	p.awaitNoRow(t, phone, hugeGroup)

	p.click(t, "#fail")
	p.await(t, "the list shows the failure", `document.querySelector('#alice-phone .row[data-state="failed"]')`)
	p.keepToast(t)
	p.inWindows(t, "failed")
	p.do(t, chromedp.Click(chromedp.CSS(`#alice-phone .row[data-state="failed"] [data-part="open"]`)))
	p.inWindows(t, "failed-open")

	p.click(t, network(laptop))
	p.click(t, network(bobs))
	p.await(t, "two devices are offline", `document.querySelectorAll("[data-connection=offline]").length === 2`)
	p.remove(t, laptop, "c2c_carol")
	p.do(t, chromedp.Evaluate[chromedp.Void](`document.querySelector("#huge").disabled = true`))
	p.inWindows(t, "disabled")
	p.do(t, chromedp.Evaluate[chromedp.Void](`document.querySelector("#huge").disabled = false`))
	p.click(t, network(laptop))
	p.click(t, network(bobs))

	r.as(t, "alice", phone).do(t, http.MethodPost, "/v1/conversations:delete", map[string]any{"all_conversations": true}, http.StatusAccepted, nil)
	p.await(t, "alice's devices are empty", `document.querySelectorAll("#alice-phone .row, #alice-laptop .row").length === 0`)
	p.inWindows(t, "empty")
}

// keepToast keeps a toast, which vanishes after some seconds, until the next one.
func (p *tab) keepToast(t *testing.T) {
	t.Helper()
	p.await(t, "there is a toast", `document.querySelector(".toast")`)
	p.do(t, chromedp.Evaluate[chromedp.Void](`(() => { const toast = document.querySelector(".toast"); toast.replaceWith(toast.cloneNode(true)); })()`))
}

// inWindows looks at the page in all windows, light and dark.
func (p *tab) inWindows(t *testing.T, state string) {
	t.Helper()
	folder := os.Getenv("LETHE_SCREENSHOTS")
	for _, scheme := range []string{"light", "dark"} {
		media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		}}
		if _, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, media); err != nil {
			t.Fatal(err)
		}
		for i, w := range windows {
			if folder == "" && scheme == "dark" && i > 0 && i < len(windows)-1 {
				continue // what differs from light are the colors, and few of them are of one size alone
			}
			p.do(t, chromedp.EmulateViewport(w[0], w[1]))
			p.await(t, "the window has its size", fmt.Sprintf("innerWidth === %d && matchMedia(%q).matches", w[0], "(prefers-color-scheme: "+scheme+")"))
			if wrong := value[[]string](t, p, looks); len(wrong) > 0 {
				t.Errorf("%s, %s, %d×%d:\n%s", state, scheme, w[0], w[1], strings.Join(wrong, "\n"))
			}
			if folder != "" {
				p.capture(t, filepath.Join(folder, fmt.Sprintf("%s-%d-%s.png", state, w[0], scheme)))
			}
		}
	}
	p.do(t, chromedp.EmulateViewport(1440, 900))
}
