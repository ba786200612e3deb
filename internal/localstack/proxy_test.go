package localstack

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// echo is a server that says what it hears, line by line.
func echo(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(conn, conn) // one client at a time is enough here
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-ended
	})
	return listener.Addr().String()
}

// proxied is a proxy before an echo, and a connection through it.
func proxied(t *testing.T) (*Proxy, net.Conn) {
	t.Helper()
	address := echo(t) // ends after the proxy
	p, err := OpenProxy(t.Context(), "tcp", address, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 2 {
			if err := p.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
	})
	return p, dial(t, p)
}

func dial(t *testing.T, p *Proxy) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// hear says a line and waits for the echo, for some time at most.
func hear(t *testing.T, conn net.Conn, line string, limit time.Duration) (string, error) {
	t.Helper()
	if _, err := io.WriteString(conn, line+"\n"); err != nil {
		return "", err
	}
	return listen(t, conn, limit)
}

func listen(t *testing.T, conn net.Conn, limit time.Duration) (string, error) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	return bufio.NewReader(conn).ReadString('\n')
}

func TestAProxyDelaysEachWayHoweverMuchIsSaid(t *testing.T) {
	t.Parallel()
	const oneWay = 100 * time.Millisecond
	p, address, err := OpenPostgresProxy(t.Context(), startPostgres(t, PostgresOptions{}).URL(), oneWay)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	conn := connect(t, address)
	// Three megabytes come in a hundred pieces, which are under way together.
	var text string
	start := time.Now()
	if err := conn.QueryRow(t.Context(), "select repeat('x', 3000000)", pgx.QueryExecModeExec).Scan(&text); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); len(text) != 3_000_000 || took < 2*oneWay || took > 50*oneWay {
		t.Errorf("%d bytes took %v; want 3000000, and less than if each piece waited for the one before", len(text), took)
	}
	if n := p.Connections(); n != 1 {
		t.Errorf("%d connections; want one", n)
	}
}

func TestTheAddressOfADatabaseThroughAProxy(t *testing.T) {
	t.Parallel()
	at := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7}
	for database, want := range map[string]string{
		"postgres:///app?host=%2Ftmp%2Fx&port=5432&user=me":                  "postgres://127.0.0.1:7/app?sslmode=disable&user=me",
		"postgres://bob:se%20cret@db.example:6543/app?application_name=x":    "postgres://bob:se%20cret@127.0.0.1:7/app?application_name=x&sslmode=disable",
		"host=db port=1 dbname=app sslmode=require":                          "host=db port=1 dbname=app sslmode=require host=127.0.0.1 port=7 sslmode=disable",
		"postgresql://db.example/app?sslmode=verify-full&sslrootcert=ca.pem": "postgresql://127.0.0.1:7/app?sslmode=disable&sslrootcert=ca.pem",
	} {
		if got := throughProxy(database, at); got != want {
			t.Errorf("throughProxy(%q) = %q; want %q", database, got, want)
		}
	}
}

func TestAFrozenProxyHoldsBackAndLosesNothing(t *testing.T) {
	t.Parallel()
	p, conn := proxied(t)
	p.Freeze()
	p.Freeze()
	if said, err := hear(t, conn, "hello", 200*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("heard %q, %v through a frozen proxy; want silence", said, err)
	}
	p.Mend()
	if said, err := listen(t, conn, deadline); said != "hello\n" {
		t.Errorf("heard %q, %v after it; want what waited", said, err)
	}
}

func TestACutProxyEndsConnectionsAndTakesNone(t *testing.T) {
	t.Parallel()
	p, conn := proxied(t)
	if said, err := hear(t, conn, "hello", deadline); said != "hello\n" {
		t.Fatalf("heard %q, %v; want the echo", said, err)
	}
	p.Cut()
	for _, c := range []net.Conn{conn, dial(t, p)} {
		if said, err := listen(t, c, deadline); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("heard %q, %v; want the end of the connection", said, err)
		}
	}
	p.Mend()
	if said, err := hear(t, dial(t, p), "again", deadline); said != "again\n" {
		t.Errorf("heard %q, %v; want the echo", said, err)
	}
}

func TestProxySwallows(t *testing.T) {
	t.Parallel()
	p, conn := proxied(t)
	if _, err := conn.Write([]byte("first\n")); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || line != "first\n" {
		t.Fatalf("echo = %q, %v", line, err)
	}
	p.Swallow()
	if _, err := conn.Write([]byte("lost\n")); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := conn.Read(make([]byte, 8)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d bytes, %v; want silence", n, err)
	}
	_ = conn.Close() // the echo serves one at a time
	next := dial(t, p)
	if _, err := next.Write([]byte("said\n")); err != nil {
		t.Fatal(err)
	}
	_ = next.SetReadDeadline(time.Now().Add(5 * time.Second))
	if line, err := bufio.NewReader(next).ReadString('\n'); err != nil || line != "said\n" {
		t.Errorf("a new connection says %q, %v; want an echo", line, err)
	}
}
