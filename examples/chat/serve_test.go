package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestSlowClientsDoNotStay(t *testing.T) {
	t.Parallel()
	const clients = 200
	for name, c := range map[string]struct{ begin, again string }{
		"headers a byte at a time":   {"GET / HTTP/1.1\r\nHost: x\r\nX: ", "x"},
		"a body a byte at a time":    {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", "x"},
		"a chunk a byte at a time":   {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"},
		"a body that nobody reads":   {"POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", "x"},
		"silence after an answer":    {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", ""},
		"silence from the beginning": {"", ""},
		"answers that nobody reads":  {strings.Repeat("GET /large HTTP/1.1\r\nHost: x\r\n\r\n", 20), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mux := http.NewServeMux()
			mux.HandleFunc("/", func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
			mux.HandleFunc("/refused", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusUnauthorized) })
			mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1<<20)) })
			server := newServer(mux, slog.New(slog.NewTextHandler(t.Output(), nil)))
			for _, limit := range []*time.Duration{&server.ReadHeaderTimeout, &server.ReadTimeout, &server.WriteTimeout, &server.IdleTimeout} {
				if *limit <= 0 || *limit > time.Minute {
					t.Fatalf("a limit is %v; want one of at most a minute", *limit)
				}
				*limit = 100 * time.Millisecond
			}
			var open, seen atomic.Int64
			server.ConnState = func(_ net.Conn, s http.ConnState) {
				switch s {
				case http.StateNew:
					seen.Add(1)
					open.Add(1)
				case http.StateClosed:
					open.Add(-1)
				default: // it stays open
				}
			}
			listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			go func() { _ = server.Serve(listener) }()
			t.Cleanup(func() { _ = server.Close() })
			var conns []net.Conn
			for range clients {
				conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", listener.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = conn.Close() })
				if _, err := io.WriteString(conn, c.begin); err != nil {
					t.Fatal(err)
				}
				conns = append(conns, conn)
			}
			until(t, "all are closed", func() bool {
				for _, conn := range conns {
					_, _ = io.WriteString(conn, c.again) // the server may have closed it
				}
				return seen.Load() == clients && open.Load() == 0
			})
		})
	}
}

func TestHeadersAreBounded(t *testing.T) {
	t.Parallel()
	r := startGatewayAlone(t)
	for path, want := range map[string]int{
		"/v1/conversations": 401,
		"/v1/conversations?x=" + strings.Repeat("x", 100_000):   431,
		"/%2e%2e/%2e%2e/etc/passwd":                             404,
		"/v1/conversations/" + strings.Repeat("%2e%2e%2f", 100): 404,
	} {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(r, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path)
		if err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(conn) // to where the server cut it off
		_ = conn.Close()
		if !bytes.HasPrefix(answer, fmt.Appendf(nil, "HTTP/1.1 %d ", want)) {
			t.Errorf("%.60s: %.200s; want %d", path, answer, want)
		}
	}
}

// Each of these has the password "hunter2" where somebody has put it, and is malformed.
func TestNoMessageTellsAPassword(t *testing.T) {
	t.Parallel()
	key := strings.Repeat("k", 32)
	sound := map[string]string{"CHAT_TOKEN_KEY": key, "DATABASE_URL": "postgres://alice@127.0.0.1:1/db", "NATS_URL": "nats://127.0.0.1:1", "HTTP_ADDR": "127.0.0.1:0"}
	for _, c := range []struct{ name, value, says string }{
		{"NATS_URL", "nats://alice:hunter2@host:port", "NATS_URL"},
		{"NATS_URL", "nats://alice:hun%ter2@host:4222", "NATS_URL"},
		{"NATS_URL", "nats://alice:hun ter2@host:4222", "NATS_URL"},
		{"NATS_URL", "nats://alice:hunter2#@host:4222", "NATS_URL"},
		{"NATS_URL", "nats://alice:4/hunter2@host:4222", "NATS_URL"},
		{"NATS_URL", "nats://alice:4?hunter2@host:4222", "NATS_URL"},
		{"NATS_URL", "nats://h1:4222, nats://alice:hunter2@host:99999", "server 2 of 2"},
		{"NATS_URL", "alice:hunter2/@", "NATS_URL"},
		{"NATS_URL", "password = hunter2 host", "NATS_URL"},
		{"NATS_URL", "://hunter2", "NATS_URL"},
		{"NATS_URL", "nats://alice:hunter2@", "NATS_URL"},
		{"DATABASE_URL", "password = hunter2 host", "DATABASE_URL"},
		{"DATABASE_URL", "password = 'hunter2 host=x", "DATABASE_URL"},
		{"DATABASE_URL", "host=x password=my hunter2 user=y", "DATABASE_URL"},
		{"DATABASE_URL", "host=x port=hunter2", "DATABASE_URL"},
		{"DATABASE_URL", "host=x sslmode=hunter2", "DATABASE_URL"},
		{"DATABASE_URL", "postgres://alice:hunter2@host:port/db", "DATABASE_URL"},
		{"DATABASE_URL", "postgres://alice:hun%ter2@host/db", "DATABASE_URL"},
		{"DATABASE_URL", "postgres://alice:hunter2 @host/db", "DATABASE_URL"},
		{"DATABASE_URL", "postgres://alice:4#hunter2@host/db", "DATABASE_URL"},
		{"DATABASE_URL", "postgres://alice:4/hunter2@host/db", "DATABASE_URL"},
		{"DATABASE_URL", "postgres://alice:4?hunter2@host/db", "DATABASE_URL"},
		{"DATABASE_URL", `"postgres://alice:hunter2@host/db?sslmode=disable"`, "DATABASE_URL"},
		{"DATABASE_URL", "alice:hunter2@host/db", "DATABASE_URL"},
		{"DATABASE_URL", "postgres:/alice:hunter2@host/db", "DATABASE_URL"},
		{"READ_DATABASE_URL", "password = hunter2 host", "READ_DATABASE_URL"},
		{"CHAT_PRESENCE_URL", "ws://alice:hunter2@host/", "CHAT_PRESENCE_URL"},
		{"CHAT_TOKEN_KEY", "hunter2", "CHAT_TOKEN_KEY"},
		// Arguments that the shell has taken apart.
		{"", "--database-url=host=x password=hunter2", "quotes"},
		{"", "--database-url = postgres://alice:hunter2@host/db", "quotes"},
		{"", "--nats-url nats://alice:hunter2 @host", "quotes"},
		{"", "--unknown=hunter2", "--unknown"},
	} {
		args := []string{"all"}
		env := map[string]string{}
		for name, value := range sound {
			env[name] = value
		}
		if c.name == "" {
			args = append(args, strings.Fields(c.value)...)
		} else {
			env[c.name] = c.value
		}
		var stderr bytes.Buffer
		code := run(t.Context(), args, func(name string) string { return env[name] }, io.Discard, &stderr)
		if text := stderr.String(); code != 1 || strings.Contains(text, "ter2") || !strings.Contains(text, c.says) {
			t.Errorf("%s=%s: exit code %d: %s; want 1, and %s named without the password", c.name, c.value, code, &stderr, c.says)
		}
	}
}

func TestShardsAreNamedByAppOrUser(t *testing.T) {
	t.Parallel()
	env := map[string]string{"CHAT_TOKEN_KEY": strings.Repeat("k", 32), "DATABASE_URL": "postgres://h/d", "CHAT_SHARDS": "demo=eu,shop=us-1"}
	opts, err := parse([]string{"gateway"}, func(name string) string { return env[name] }, io.Discard)
	if err != nil || opts.Shards["demo"] != "eu" || opts.Shards["shop"] != "us-1" {
		t.Errorf("parse = %+v, %v; want both shards", opts, err)
	}
	env["CHAT_SHARDS"], env["CHAT_SHARD_DATABASES"] = "demo/bob=b", "b=postgres://u:p@h/d?sslmode=disable"
	if opts, err = parse([]string{"gateway"}, func(name string) string { return env[name] }, io.Discard); err != nil || opts.Shards["demo/bob"] != "b" || opts.Databases["b"] != "postgres://u:p@h/d?sslmode=disable" {
		t.Errorf("parse = %+v, %v; want the shard of a user, and its database", opts, err)
	}
	env["CHAT_SHARDS"] = "demo=EU"
	if _, err := parse([]string{"gateway"}, func(name string) string { return env[name] }, io.Discard); err == nil || !strings.Contains(err.Error(), "CHAT_SHARDS") {
		t.Errorf("with a wrong name: %v; want an error about CHAT_SHARDS", err)
	}
}

func TestSoundAddressesAreTaken(t *testing.T) {
	t.Parallel()
	for _, list := range []string{
		"nats://127.0.0.1:4222", "host", "host:4222", "tls://alice:p%40ss@host", "nats://a:4222, nats://b:4222,nats://[::1]:4222/", "wss://host:443", "nats://token@host",
	} {
		if err := checkNATSURL(list); err != nil {
			t.Errorf("%s: %v", list, err)
		}
	}
	for _, address := range []string{
		"postgres://alice:p%40ss@host:5432/db?sslmode=disable&search_path=x", "postgresql://h1,h2:5433/db?target_session_attrs=read-write",
		"host=/tmp port = 5432 user=alice password = 'my secret' dbname=db", "host=x options='-c work_mem=4MB'", "postgres://host/db?host=/tmp&application_name=x",
	} {
		if _, err := databaseConfig("DATABASE_URL", address); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestHostsAreNamesAlone(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"Chat.example, other_1": "[chat.example other_1] <nil>", "192.0.2.1,2001:db8::1": "[192.0.2.1 2001:db8::1] <nil>",
		"https://chat.example": "is not a host name", "chat.example:8080": "is not a host name", "a,,b": "is not a host name", "*": "is not a host name",
	} {
		env := map[string]string{"CHAT_HOSTS": text, "CHAT_TOKEN_KEY": strings.Repeat("k", 32)}
		opts, err := parse([]string{"presence"}, func(name string) string { return env[name] }, io.Discard)
		got := ""
		if opts != nil {
			got = fmt.Sprint(opts.Hosts)
		}
		if got = fmt.Sprint(got, " ", err); !strings.Contains(got, want) {
			t.Errorf("CHAT_HOSTS=%s: %s; want %s", text, got, want)
		}
	}
}
