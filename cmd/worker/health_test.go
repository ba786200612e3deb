package main

import (
	"net/url"
	"strings"
	"testing"
)

func TestHealthAsksTheWorkerOnThisMachine(t *testing.T) {
	t.Parallel()
	s := newStack(t) // nothing is set up: alive, and not ready
	w := s.start(t)
	u, err := url.Parse(w.url)
	if err != nil {
		t.Fatal(err)
	}
	env := vars(map[string]string{"HTTP_ADDR": u.Host})
	if o := execute(env, "health", "--live").mustSucceed(t); o.stdout != "ok\n" {
		t.Errorf("health --live printed %q; want ok", o.stdout)
	}
	execute(env, "health").mustFail(t, exitError, "worker: health: not ready: ")
	s.command("setup", "--sample-schema").mustSucceed(t)
	w.wantReady(t, 200, "ready")
	if o := execute(env, "health").mustSucceed(t); o.stdout != "ready\n" {
		t.Errorf("health printed %q; want ready", o.stdout)
	}
}

func TestHealthFailsWhereNobodyListens(t *testing.T) {
	t.Parallel()
	execute(unset, "health", "--http-addr", "127.0.0.1:1").mustFail(t, exitError, "worker: health: ", "127.0.0.1:1")
	execute(unset, "health", "--http-addr", "8080").mustFail(t, exitUsage, `"8080" is not an address`)
}

func TestHealthAsksOnTheLoopbackWhatListensEverywhere(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		":8080": "http://127.0.0.1:8080/readyz", "0.0.0.0:81": "http://127.0.0.1:81/readyz", "[::]:81": "http://[::1]:81/readyz",
		"worker:8080": "http://worker:8080/readyz", "10.0.0.1:1": "http://10.0.0.1:1/readyz",
	} {
		c := healthCommand{HTTPAddr: addr}
		if got := c.url(); got != want {
			t.Errorf("HTTP_ADDR=%s: %s; want %s", addr, got, want)
		}
		c.Live = true
		if got := c.url(); !strings.HasSuffix(got, "/livez") {
			t.Errorf("HTTP_ADDR=%s --live: %s; want /livez", addr, got)
		}
	}
}
