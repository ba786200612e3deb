package main

import (
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

func TestZZ(t *testing.T) {
	chromium := startBrowser(t)
	r := startChatWithGroups(t)
	r.samples(t)
	p := chromium.open(t, r)
	p.syncOn(t)
	p.open(t, laptop, camping)
	p.open(t, bobs, camping)
	p.capture(t, "/var/tmp/b16/zz-1.png")
	p.click(t, row(phone, camping)+` [data-part="delete"]`)
	p.click(t, "#confirm-everyone")
	p.capture(t, "/var/tmp/b16/zz-2.png")
	p.click(t, "#confirm-everyone")
	p.capture(t, "/var/tmp/b16/zz-3.png")
	p.click(t, "#confirm-no")
	p.click(t, `#alice-phone [data-part="all"]`)
	p.capture(t, "/var/tmp/b16/zz-4.png")
	p.click(t, "#confirm-no")
	p.remove(t, phone, camping)
	p.awaitNoRow(t, phone, camping)
	p.awaitStored(t, "5", "Alice reads none, Bob reads 5")
	dark := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}}
	if _, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, dark); err != nil {
		t.Fatal(err)
	}
	p.capture(t, "/var/tmp/b16/zz-5.png")
	p.do(t, chromedp.EmulateViewport(390, 844))
	p.capture(t, "/var/tmp/b16/zz-6.png")
	if _, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{}); err != nil {
		t.Fatal(err)
	}
	p.do(t, chromedp.EmulateViewport(1024, 768))
	p.capture(t, "/var/tmp/b16/zz-7.png")
}
