package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// browsers are the programs that will do, as in scripts/deps.
var browsers = []string{
	os.Getenv("LETHE_CHROMIUM"), "chromium", "chromium-browser", "google-chrome", "google-chrome-stable",
	"/Applications/Google Chrome.app/Contents/MacOS/Google Chrome", "/Applications/Chromium.app/Contents/MacOS/Chromium",
}

// browser is a running Chromium.
type browser struct {
	ctx context.Context
}

// startBrowser starts a headless Chromium, which ends with the test. Without one
// the test fails, and says what to install.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	program := ""
	for _, name := range browsers {
		if path, err := exec.LookPath(name); err == nil && program == "" {
			program = path
		}
	}
	if program == "" {
		t.Fatal("no Chromium found: run `make deps`, or on Debian `apt-get install chromium`, or set LETHE_CHROMIUM to its program")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.UserDataDir(t.TempDir()))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox) // it refuses to run as root otherwise
	}
	// Not the test's own context: that ends before the browser may.
	ctx, cancel := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", program, err)
	}
	t.Cleanup(func() {
		limited, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		if err := chromedp.Cancel(limited); err != nil {
			t.Errorf("close the browser: %v", err)
		}
	})
	return &browser{ctx}
}

// tab shows the page to a test.
type tab struct {
	ctx      context.Context
	expected []string // parts of what the browser may complain about
}

// open opens the page of a chat in a tab of its own, and waits until its three devices are
// connected and show the samples. What the browser complains about, such as an
// exception or the page's policy, fails the test.
func (b *browser) open(t *testing.T, r *rig) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	p := &tab{ctx: ctx}
	cut := p.listen(t, cancel)
	// It behaves as the one window that the user looks at, although others run.
	focus := emulation.SetFocusEmulationEnabledParams{Enabled: true}
	if _, err := chromedp.Call(ctx, emulation.SetFocusEmulationEnabled, focus); err != nil {
		t.Fatal(err)
	}
	p.do(t, chromedp.EmulateViewport(1440, 900), chromedp.Navigate(r.url))
	until(t, "the page is there", func() bool {
		select {
		case <-cut:
			p.do(t, chromedp.Reload())
		default:
		}
		return value[bool](t, p, r.ready())
	})
	return p
}

// ready says that everything is there: three devices with alice's three
// conversations and bob's two, the shared group if there is one, and the console.
func (r *rig) ready() string {
	rows := 8
	if r.groups != "" {
		rows = 11
	}
	return fmt.Sprintf(`document.querySelectorAll("[data-connection=online]").length === 3 &&
	document.querySelectorAll(".row").length === %d && !document.querySelector("#sync").disabled`, rows)
}

// networkChanged is what Chromium says where another program on this machine adds
// or removes a network interface: it cuts requests off. The page's devices live
// with that; its scripts may be missing.
const networkChanged = "net::ERR_NETWORK_CHANGED"

// listen fails the test for what the browser complains about until cancel, which
// closes the tab. The channel tells that requests were cut off.
func (p *tab) listen(t *testing.T, cancel func()) (cut <-chan struct{}) {
	t.Helper()
	messages := chromedp.Console(p.ctx)
	complaints, cuts := make(chan []string), make(chan struct{}, 1)
	go func() {
		var all []string
		for m, err := range messages {
			switch {
			case err != nil:
			case strings.Contains(fmt.Sprint(m), networkChanged):
				select {
				case cuts <- struct{}{}:
				default:
				}
			default:
				all = append(all, fmt.Sprint(m))
			}
		}
		complaints <- all
	}()
	t.Cleanup(func() {
		cancel()
		all := slices.DeleteFunc(<-complaints, func(complaint string) bool {
			return slices.ContainsFunc(p.expected, func(part string) bool { return strings.Contains(complaint, part) })
		})
		if len(all) > 0 {
			t.Errorf("the browser says:\n%s", strings.Join(all, "\n"))
		}
	})
	return cuts
}

// until asks until the answer is yes.
func until(t *testing.T, what string, ask func() bool) {
	t.Helper()
	tick, late := time.NewTicker(20*time.Millisecond), time.After(timeout)
	defer tick.Stop()
	for !ask() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%v long not true: %s", timeout, what)
		}
	}
}

func (p *tab) do(t *testing.T, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, timeout)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatalf("%v; the page shows:\n%s", err, p.text(t))
	}
}

// await waits until an expression is true. (Not with chromedp.Poll: that makes
// code from text in the page, which the page's policy forbids.)
func (p *tab) await(t *testing.T, what, condition string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, timeout)
	defer cancel()
	promise := fmt.Sprintf(`new Promise((done) => { const look = () => (%s) ? done() : setTimeout(look, 10); look(); })`, condition)
	_, err := chromedp.Run(ctx, chromedp.Evaluate[chromedp.Void](promise, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("waiting until %s: %v; the page shows:\n%s", what, err, p.text(t))
	}
}

// value is that of an expression.
func value[T any](t *testing.T, p *tab, expression string) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, timeout)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// text is all that the page shows, for failures.
func (p *tab) text(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 5*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText`))
	if err != nil {
		return err.Error()
	}
	return text
}

func (p *tab) click(t *testing.T, selector string) {
	t.Helper()
	p.do(t, chromedp.Click(chromedp.CSS(selector)))
}

// The page, as its users see it. Rows that are fading out are inert.

func row(device, id string) string {
	return fmt.Sprintf(`#%s .row[data-conversation="%s"]:not([inert])`, device, id)
}

func (p *tab) awaitRow(t *testing.T, device, id string) {
	t.Helper()
	p.await(t, device+" has "+id, fmt.Sprintf("document.querySelector(%q)", row(device, id)))
}

func (p *tab) awaitNoRow(t *testing.T, device, id string) {
	t.Helper()
	p.await(t, device+" has no "+id, fmt.Sprintf("!document.querySelector(%q)", row(device, id)))
}

func (p *tab) hasRow(t *testing.T, device, id string) bool {
	t.Helper()
	return value[bool](t, p, fmt.Sprintf("document.querySelector(%q) !== null", row(device, id)))
}

// remove deletes a conversation by the button in the list.
func (p *tab) remove(t *testing.T, device, id string) {
	t.Helper()
	p.click(t, row(device, id)+` [data-part="delete"]`)
	p.click(t, "#confirm-yes")
}

// open opens a conversation.
func (p *tab) open(t *testing.T, device, id string) {
	t.Helper()
	p.click(t, row(device, id)+` [data-part="open"]`)
}

// send types a message into the open conversation.
func (p *tab) send(t *testing.T, device, text string) {
	t.Helper()
	p.do(t, chromedp.SendKeys(chromedp.CSS("#"+device+` [data-part="input"]`), text+"\r"))
}

// awaitThread waits until a device's open conversation has just these messages.
func (p *tab) awaitThread(t *testing.T, device string, texts ...string) {
	t.Helper()
	want, err := json.Marshal(texts)
	if err != nil {
		t.Fatal(err)
	}
	p.await(t, fmt.Sprintf("%s shows %s", device, want), fmt.Sprintf(
		`JSON.stringify([...document.querySelectorAll('#%s .message:not([inert]) [data-part="text"]')].map((e) => e.textContent)) === %q`, device, want))
}

// awaitLast waits until the last message of a device's open conversation is this.
func (p *tab) awaitLast(t *testing.T, device, text string) {
	t.Helper()
	p.await(t, fmt.Sprintf("%s shows %q", device, text), fmt.Sprintf(
		`[...document.querySelectorAll('#%s .message [data-part="text"]')].at(-1)?.textContent === %q`, device, text))
}

// press presses keys, one after the other.
func (p *tab) press(t *testing.T, keys ...string) {
	t.Helper()
	for _, key := range keys {
		p.do(t, chromedp.KeyEvent(key))
	}
}

// syncOn switches multi-client sync on.
func (p *tab) syncOn(t *testing.T) {
	t.Helper()
	p.click(t, "#sync")
	p.await(t, "the switch is on", logged("switched “Delete on all devices” on"))
}

const back = `[data-part="back"]`

func network(device string) string { return fmt.Sprintf(`[data-network="%s"]`, device) }

// logged is the number of lines of the log that have a text.
func logged(text string) string {
	return fmt.Sprintf(`[...document.querySelectorAll("#log li")].filter((e) => e.textContent.includes(%q)).length`, text)
}
