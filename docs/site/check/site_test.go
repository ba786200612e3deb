package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// built is where make docs puts the site.
const built = "../../../bin/docs"

// timeout bounds what the browser does.
const timeout = time.Minute

func TestWhatLeadsNowhereIsFound(t *testing.T) {
	t.Parallel()
	const good = `<a href="sub/">a</a> <a href="sub/#there">b</a> <a href="#here" id="here">c</a> <a href="https://example.com/x">d</a>` +
		`<a href="` + forge + `main.go#L1">e</a> <img src="sub/a.svg"> <link href="data:,"> <a href="mailto:a@example.com">f</a> <code>href="x"</code>`
	for text, want := range map[string]string{
		good:                                                            "",
		good + `<a href="no/">`:                                         "no such file",
		good + `<a href="sub/#no">`:                                     "no such heading",
		good + `<a href="#no">`:                                         "no such heading",
		good + `<a href="sub/a.svg#x">`:                                 "no such heading",
		good + `<a href="/sub/">`:                                       "not relative",
		good + `<a href="` + forge + `no.go`:                            "", // no end, and so no link
		good + `<a href="` + forge + `no.go">`:                          "no such file",
		good + `<img src="sub/no.svg">`:                                 "no such file",
		good + `<img srcset="sub/a.svg 1x, sub/no.svg 2x">`:             "no such file",
		good + `<script src="https://cdn.example.com/a.js"></script>`:   "another server",
		good + `<link rel="stylesheet" href="//cdn.example.com/a.css">`: "another server",
		good + `<style>@import "https://example.com/a.css";</style>`:    "another server",
		good + `<p style="background: url('https://example.com/a')">`:   "another server",
		good + `<script data-pages="no.js"></script>`:                   "no such file",
	} {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
			t.Fatal(err)
		}
		for name, content := range map[string]string{"index.html": text, "sub/index.html": `<a href="../" id="there"></a>`, "sub/a.svg": "<svg/>", "a.css": ""} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s, err := read(dir)
		if err != nil {
			t.Fatal(err)
		}
		if found := strings.Join(s.faults("."), "\n"); (found == "") != (want == "") || !strings.Contains(found, want) {
			t.Errorf("%q: found %q; want %q", text, found, want)
		}
	}
}

// serve serves the site from below a path, as a forge's pages are.
func serve(t *testing.T, site http.Handler) string {
	t.Helper()
	if _, err := os.Stat(filepath.Join(built, "index.html")); err != nil {
		t.Fatalf("the site isn't built: run make docs: %v", err)
	}
	server := httptest.NewServer(http.StripPrefix("/lethe", site))
	t.Cleanup(server.Close)
	return server.URL
}

// It works without anything else.
func TestTheSearchFinds(t *testing.T) {
	t.Parallel()
	site := serve(t, http.FileServer(http.Dir(built)))
	folder, err := filepath.Abs(built)
	if err != nil {
		t.Fatal(err)
	}
	browser := startBrowser(t)
	for _, c := range []struct{ name, page, query, want, address string }{
		{"from the start", site + "/lethe/", "watermark", "Shared logs", site + "/lethe/docs/"},
		{"from a page", site + "/lethe/docs/plan/", "--foreground-backoff", "--foreground-backoff", site + "/lethe/docs/settings/#--foreground-backoff"},
		{"a part of a name", site + "/lethe/design/", "lethe_throttled", "Metrics", site + "/lethe/"},
		{"with a slip", site + "/lethe/api/", "shrading databse", "Sharding", site + "/lethe/docs/sharding/"},
		{"from a folder without a server", "file://" + folder + "/docs/plan/index.html", "dead letter", "Concepts", "file://" + folder + "/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx := open(t, browser, c.page)
			results := search(ctx, t, c.query)
			address := evaluate[string](ctx, t, `document.querySelector('.results a').href`)
			loaded := evaluate[[]string](ctx, t, `performance.getEntriesByType('resource').map(entry => entry.name)`)
			if !strings.Contains(results, c.want) || !strings.HasPrefix(address, c.address) {
				t.Errorf("the first result is %s; want %s and %q in:\n%s", address, c.address, c.want, results)
			}
			for _, resource := range loaded {
				if !strings.HasPrefix(resource, site+"/lethe/") && !strings.HasPrefix(resource, "file://"+folder) && !strings.HasPrefix(resource, "data:") {
					t.Errorf("the page asks for %s", resource)
				}
			}
			if !strings.HasPrefix(c.page, "file:") && len(loaded) < 3 {
				t.Errorf("loaded %q; want a style sheet and two scripts", loaded)
			}
		})
	}
}

// What isn't shown can't be chosen, and who goes on with the keyboard leaves the results.
func TestTheSearchGoesAway(t *testing.T) {
	t.Parallel()
	page := serve(t, http.FileServer(http.Dir(built))) + "/lethe/docs/plan/"
	ctx := open(t, startBrowser(t), page)
	shown := func(want bool, what string) {
		t.Helper()
		if hidden := evaluate[bool](ctx, t, `document.querySelector('.results').hidden`); hidden == want {
			t.Errorf("%s: the results are hidden: %v", what, hidden)
		}
	}
	search(ctx, t, "watermark")
	shown(true, "after a search")
	do(ctx, t, chromedp.KeyEvent("a", chromedp.KeyModifiers(chromedp.ModifierCtrl)), chromedp.KeyEvent(kb.Backspace), chromedp.KeyEvent(kb.Enter))
	shown(false, "without a query")
	if at := evaluate[string](ctx, t, `location.href`); at != page {
		t.Errorf("Enter without a query leads to %s", at)
	}
	search(ctx, t, "watermark")
	do(ctx, t, chromedp.KeyEvent(kb.Tab, chromedp.KeyModifiers(chromedp.ModifierShift)))
	shown(false, "with the focus elsewhere")
	do(ctx, t, chromedp.KeyEvent("/"), chromedp.KeyEvent(kb.ArrowDown))
	shown(true, "with the focus back")
	do(ctx, t, chromedp.KeyEvent(kb.ArrowDown), chromedp.KeyEvent(kb.Enter))
	if at := evaluate[string](ctx, t, `new Promise(done => { const look = () => location.href !== "`+page+`" ? done(location.href) : setTimeout(look, 20); look() })`); !strings.Contains(at, "/lethe/docs/") {
		t.Errorf("Enter on a result leads to %s", at)
	}
}

// Without scripts there is no search, and without its index it says so, and tries again.
func TestTheSearchSaysWhatItLacks(t *testing.T) {
	t.Parallel()
	var missing atomic.Bool
	missing.Store(true)
	files := http.FileServer(http.Dir(built))
	site := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/pages.js") && missing.Load() {
			http.NotFound(w, r)
			return
		}
		files.ServeHTTP(w, r)
	}))
	page, err := os.ReadFile(filepath.Join(built, "index.html"))
	if err != nil || !strings.Contains(string(page), ` role="search" hidden>`) {
		t.Errorf("%v; want a search that its script shows", err)
	}
	ctx := open(t, startBrowser(t), site+"/lethe/")
	do(ctx, t, chromedp.KeyEvent("/"), chromedp.KeyEvent("watermark"))
	evaluate[bool](ctx, t, `new Promise(done => { const list = document.querySelector('.results'); const look = () =>
		!list.hidden && list.innerText.includes("can’t be loaded") ? done(true) : setTimeout(look, 20); look() })`)
	missing.Store(false)
	if results := search(ctx, t, "s"); !strings.Contains(results, "Shared logs") {
		t.Errorf("the results are\n%s\nwant Shared logs", results)
	}
}

// open shows a page in a tab of its own.
func open(t *testing.T, browser context.Context, page string) context.Context {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, timeout)
	t.Cleanup(cancel)
	if _, err := chromedp.Call(ctx, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}); err != nil {
		t.Fatal(err)
	}
	do(ctx, t, chromedp.Navigate(page))
	return ctx
}

func do(ctx context.Context, t *testing.T, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// search types a query, and returns the results of the whole of what stands there, not of a part of it.
func search(ctx context.Context, t *testing.T, query string) string {
	t.Helper()
	do(ctx, t, chromedp.KeyEvent("/"), chromedp.KeyEvent(query))
	return evaluate[string](ctx, t, `new Promise(done => { const list = document.querySelector('.results'); const look = () =>
		list.dataset.query === document.querySelector('.search input').value.trim() && list.querySelector('a') ? done(list.innerText) : setTimeout(look, 20); look() })`)
}

// evaluate is the value of an expression in the page.
func evaluate[T any](ctx context.Context, t *testing.T, expression string) T {
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// startBrowser starts a headless Chromium, which ends with the test. Without one the test fails, and says what to install.
func startBrowser(t *testing.T) context.Context {
	t.Helper()
	program := ""
	for _, name := range []string{os.Getenv("LETHE_CHROMIUM"), "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil && program == "" {
			program = path
		}
	}
	if program == "" {
		t.Fatal("no Chromium found: run `make deps`, or on Debian `apt-get install chromium`, or set LETHE_CHROMIUM to its program")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()))
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
	t.Cleanup(func() { _ = chromedp.Cancel(ctx) })
	return ctx
}
