package main

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

// get is the page's answer to a request.
func get(t *testing.T, presence, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	pageHandler(pageConfig{Presence: presence, Shared: true}).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w
}

func TestPageConnectsToItselfAndToPresenceAlone(t *testing.T) {
	t.Parallel()
	for presence, want := range map[string]string{
		"":                                  "connect-src 'self';",
		"ws://chat.example:8081/v1/connect": "connect-src 'self' ws://chat.example:8081;",
	} {
		got := get(t, presence, "/").Header().Get("Content-Security-Policy")
		if !strings.Contains(got, "default-src 'none'; script-src 'self'; style-src 'self';") || !strings.Contains(got, want) {
			t.Errorf("presence %q: policy %q; want %s", presence, got, want)
		}
		if got, want := get(t, presence, "/config.json").Body.String(), `{"presence":"`+presence+`","shared":true}`; strings.TrimSpace(got) != want {
			t.Errorf("/config.json: %s; want %s", got, want)
		}
	}
}

// reference is what a file of the page names: an attribute of HTML, an import.
var reference = regexp.MustCompile(`(?:href|src)="([^"#]+)"|from "\./([^"]+)"|request\("GET", "/([a-z]+\.json)"`)

func TestPageHasAllThatItNamesAndNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	seen, left := map[string]bool{}, []string{""}
	for len(left) > 0 {
		path := left[0]
		left = left[1:]
		if seen[path] {
			continue
		}
		seen[path] = true
		w := get(t, "", "/"+path)
		if w.Code != http.StatusOK {
			t.Errorf("/%s: status %d", path, w.Code)
		}
		for _, m := range reference.FindAllStringSubmatch(w.Body.String(), -1) {
			left = append(left, m[1]+m[2]+m[3])
		}
	}
	if len(seen) < 10 {
		t.Errorf("only %v found", seen)
	}
	entries, err := pageFiles.ReadDir("page")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !seen[e.Name()] && e.Name() != "index.html" {
			t.Errorf("%s is not used", e.Name())
		}
	}
}
