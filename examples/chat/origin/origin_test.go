package origin

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestNames(t *testing.T) {
	t.Parallel()
	names := Names{"chat.example"}
	local := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 8080}
	for _, c := range []struct {
		host, origin string
		own, ownPage bool
	}{
		{"localhost:8080", "", true, true},
		{"LOCALHOST", "http://localhost:3000", true, true},
		{"127.0.0.1:8080", "http://127.1.2.3", true, true},
		{"[::1]:8080", "http://[::1]:8080", true, true},
		{"chat.example", "https://Chat.Example:8443", true, true},
		{"chat.example.:443", "", true, true},
		{"192.0.2.7:8080", "http://192.0.2.7:8080", true, true}, // where it arrived
		{"192.0.2.8:8080", "http://192.0.2.8:8080", false, false},
		{"evil.example:8080", "http://evil.example:8080", false, false}, // rebinding: both agree
		{"localhost.evil.example", "http://localhost.evil.example", false, false},
		{"evilchat.example", "http://localhost@evil.example", false, false},
		{"", "null", false, false},
		{"localhost", "file://localhost", true, false},
		{"localhost", "http://evil.example, http://localhost", true, false},
		{"localhost", "%", true, false},
	} {
		ctx := context.WithValue(t.Context(), http.LocalAddrContextKey, local)
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", nil)
		r.Host = c.host
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		if got := names.OwnHost(r); got != c.own {
			t.Errorf("host %q: own %t; want %t", c.host, got, c.own)
		}
		if got := names.OwnOrigin(r); got != c.ownPage {
			t.Errorf("origin %q: own %t; want %t", c.origin, got, c.ownPage)
		}
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
	r.Header["Origin"] = []string{"http://localhost", "http://evil.example"}
	if names.OwnOrigin(r) {
		t.Error("two origins are own; want them refused")
	}
}
