package main

import (
	"embed"
	"encoding/json"
	"io/fs"
	"net/http"
	"net/url"
)

// pageFiles is the page: plain files, served as they are.
//
//go:embed page
var pageFiles embed.FS

// pageConfig is what the page is told.
type pageConfig struct {
	// Presence is a WebSocket address such as ws://host:8081/v1/connect, or empty if
	// the service is on the page's own origin.
	Presence string `json:"presence"`
	// Shared says that there are groups whose members share one log.
	Shared bool `json:"shared"`
}

// pageHandler serves the page and /config.json. The page may load nothing from
// elsewhere and connect to its origin and to presence alone.
func pageHandler(cfg pageConfig) http.Handler {
	files, err := fs.Sub(pageFiles, "page")
	if err != nil {
		panic("BUG: " + err.Error()) // the name is a constant
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(files))
	mux.HandleFunc("GET /config.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(cfg) // fails only if nobody reads it
	})
	policy := contentPolicy(cfg.Presence)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-cache") // the files of one binary belong together
		mux.ServeHTTP(w, r)
	})
}

// contentPolicy is the Content-Security-Policy: scripts, styles and pictures are
// the page's own files, and no text ever becomes markup.
func contentPolicy(presence string) string {
	connect := "'self'"
	if u, err := url.Parse(presence); err == nil && u.Host != "" {
		connect += " " + u.Scheme + "://" + u.Host
	}
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src " + connect +
		"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
}
