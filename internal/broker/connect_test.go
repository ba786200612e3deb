package broker

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// logText collects log lines.
type logText struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func newLog() (*slog.Logger, *logText) {
	text := &logText{}
	return slog.New(slog.NewTextHandler(text, &slog.HandlerOptions{Level: slog.LevelDebug})), text
}

// unusedPort is one that nothing listens on.
func unusedPort(t *testing.T) int {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

func TestConnectNamesWhatIsWrongWithTheConfiguration(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "missing")
	junk := filepath.Join(t.TempDir(), "junk.pem")
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	const url = "nats://127.0.0.1:1"
	tests := map[string]struct {
		cfg  Config
		want string
	}{
		"no address":          {Config{}, "no address"},
		"bad address":         {Config{URL: "nats://a b:4222"}, "connect to NATS"},
		"no credentials file": {Config{URL: url, Creds: missing}, missing},
		"cert without key":    {Config{URL: url, TLSCert: junk}, "needs its key"},
		"key without cert":    {Config{URL: url, TLSKey: junk}, "needs its key"},
		"bad cert":            {Config{URL: url, TLSCert: junk, TLSKey: junk}, "client certificate"},
		"no authorities":      {Config{URL: url, TLSCA: missing}, missing},
		"bad authorities":     {Config{URL: url, TLSCA: junk}, junk},
		"short ack wait":      {Config{URL: url, AckWait: time.Millisecond}, "ack wait"},
		"negative slots":      {Config{URL: url, Slots: -1}, "slots -1"},
		"negative in flight":  {Config{URL: url, MaxInFlight: -1}, "-1 in flight"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, err := Connect(t.Context(), tt.cfg)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("Connect = %v; want one line with %q", err, tt.want)
			}
			if b != nil {
				_ = b.Close()
			}
		})
	}
}

func TestConnectDoesNotWaitForAServer(t *testing.T) {
	t.Parallel()
	port := unusedPort(t)
	gate, log := newGate(), (*slog.Logger)(nil)
	log, text := newLog()
	url := fmt.Sprintf("nats://someone:secret@127.0.0.1:%d", port)
	b := connect(t, Config{URL: url, Gate: gate, Log: log})
	gate.closedFor(t, causeLink, fmt.Sprintf("127.0.0.1:%d", port))
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := b.Setup(short, SetupOptions{})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no connection to NATS") {
		t.Errorf("Setup without a server = %v; want the deadline, and why", err)
	}
	w := start(t, b)
	n := localtest.NATS(t, localstack.NATSOptions{Port: port})
	gate.opened(t)
	setup(t, b, SetupOptions{})
	gate.opened(t)
	send(t, admin(t, n), 1)
	w.next().Settle(done())
	if strings.Contains(text.String()+fmt.Sprint(err), "secret") {
		t.Errorf("the password stands in %q or %v", text, err)
	}
}

func TestWrongCredentialsAreReportedAndRetried(t *testing.T) {
	t.Parallel()
	n := localtest.NATS(t, users(nil))
	gate := newGate()
	connect(t, Config{URL: as(n, "nobody"), Gate: gate})
	gate.closedFor(t, causeLink, "uthorization", "check the credentials")

	// The user may come later; the same error twice is no reason to give up.
	later := users(nil)
	var mu sync.Mutex
	name := "somebody"
	later.Configure = func(o *server.Options) {
		mu.Lock()
		defer mu.Unlock()
		o.Users = []*server.User{{Username: name, Password: "worker"}}
	}
	n = localtest.NATS(t, later)
	gate = newGate()
	connect(t, Config{URL: as(n, "worker"), Gate: gate})
	gate.closedFor(t, causeLink, "check the credentials")
	stays(t, "not given up", 500*time.Millisecond, func() bool { return gate.Close(causeLink, "") == false })
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	name = "worker"
	mu.Unlock()
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	gate.opened(t)
}

func TestCloseTwiceAndWithoutAServer(t *testing.T) {
	t.Parallel()
	b, err := Connect(t.Context(), Config{URL: fmt.Sprintf("nats://127.0.0.1:%d", unusedPort(t))})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.Close(); err != nil {
			t.Errorf("Close = %v; want nil", err)
		}
	}
	if err := b.connected(t.Context()); err == nil {
		t.Error("a closed broker is connected")
	}
}

func TestConnectTriesAllAddresses(t *testing.T) {
	t.Parallel()
	n := localtest.NATS(t)
	gate := newGate()
	connect(t, Config{URL: fmt.Sprintf("nats://127.0.0.1:%d, %s", unusedPort(t), n.URL()), Gate: gate})
	gate.opened(t)
}

// As after a cut of the network: nobody says that the connection has ended.
func TestAConnectionThatFallsSilentIsGivenUp(t *testing.T) {
	t.Parallel()
	n := localtest.NATS(t)
	p := localtest.Proxy(t, strings.TrimPrefix(n.URL(), "nats://"))
	gate := newGate()
	connect(t, Config{URL: "nats://" + p.Addr(), Gate: gate})
	gate.opened(t)
	p.Freeze()
	gate.closedFor(t, causeLink, "no connection to NATS")
	p.Mend()
	gate.opened(t)
}

func TestRedact(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"nats://u:p@h:4222":             "nats://h:4222",
		"nats://a:1, tls://u:p@b:2":     "nats://a:1,tls://b:2",
		"u:p@h:4222":                    "h:4222",
		"h":                             "h",
		"nats://token@h:1,nats://h:2":   "nats://h:1,nats://h:2",
		"nats://u:p%zz@h:4222":          "h:4222",
		"ws://u:p@h:80/path, wss://h:1": "ws://h:80/path,wss://h:1",
	} {
		if got := redact(in); got != want {
			t.Errorf("redact(%q) = %q; want %q", in, got, want)
		}
	}
}

func TestReconnectDelay(t *testing.T) {
	t.Parallel()
	last := time.Duration(0)
	for rounds := range 100 {
		d := reconnectDelay(rounds)
		if d < 50*time.Millisecond || d > 2400*time.Millisecond {
			t.Errorf("reconnectDelay(%d) = %v; want 50ms to 2.4s", rounds, d)
		}
		last = d
	}
	if last < 2*time.Second {
		t.Errorf("reconnectDelay(99) = %v; want at least 2s", last)
	}
}

// certificate makes a certificate, signed by the authority or by itself, and
// writes it and its key into dir.
func certificate(t *testing.T, dir, name string, authority *tls.Certificate) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: authority == nil,
	}
	parent, signer := template, any(key)
	if authority != nil {
		if parent, err = x509.ParseCertificate(authority.Certificate[0]); err != nil {
			t.Fatal(err)
		}
		signer = authority.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "EC PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

func TestConnectWithCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	caFile, caKey := certificate(t, dir, "authority", nil)
	ca, err := tls.LoadX509KeyPair(caFile, caKey)
	if err != nil {
		t.Fatal(err)
	}
	serverFile, serverKey := certificate(t, dir, "server", &ca)
	clientFile, clientKey := certificate(t, dir, "client", &ca)
	config, err := server.GenTLSConfig(&server.TLSConfigOpts{
		CertFile: serverFile, KeyFile: serverKey, CaFile: caFile, Verify: true, Timeout: 2,
	})
	if err != nil {
		t.Fatal(err)
	}
	n := localtest.NATS(t, localstack.NATSOptions{Configure: func(o *server.Options) { o.TLSConfig, o.TLSTimeout, o.TLSVerify = config, 5, true }})
	gate := newGate()
	b := connect(t, Config{URL: n.URL(), TLSCA: caFile, TLSCert: clientFile, TLSKey: clientKey, Gate: gate})
	gate.opened(t)
	setup(t, b, SetupOptions{})

	stranger := newGate()
	connect(t, Config{URL: n.URL(), TLSCA: caFile, Gate: stranger})
	stranger.closedFor(t, causeLink, "no connection to NATS", "tls")
}

func TestDial(t *testing.T) {
	t.Parallel()
	_, err := Dial(Config{URL: "nats://user:secret@127.0.0.1:1"})
	if err == nil || !strings.Contains(err.Error(), "nats://127.0.0.1:1") || strings.Contains(err.Error(), "secret") {
		t.Errorf("Dial without a server = %v; want the address without the password", err)
	}
	if _, err := Dial(Config{URL: "nats://127.0.0.1:1", Creds: "nowhere"}); err == nil || !strings.Contains(err.Error(), "NATS credentials") {
		t.Errorf("Dial = %v; want it to name the credentials", err)
	}
	n := localtest.NATS(t)
	nc, err := Dial(Config{URL: n.URL(), Name: "lethe-send", InboxPrefix: "_INBOX_x"})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if nc.Opts.Name != "lethe-send" || nc.Opts.InboxPrefix != "_INBOX_x" || nc.Opts.MaxReconnect != -1 {
		t.Errorf("options = %+v", nc.Opts)
	}
}
