package localstack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// pieceSize is how much a proxy reads at once.
	pieceSize = 32 << 10
	// piecesUnderWay is how many pieces one direction of a connection holds at most;
	// who says more waits.
	piecesUnderWay = 256
)

// Proxy stands between clients and a server's address, and is a network that can
// be cut. It begins whole. Safe for concurrent use.
type Proxy struct {
	listener         net.Listener
	network, address string // the server's
	oneWay           time.Duration

	mu      sync.Mutex // guards what follows
	conns   map[net.Conn]*wire
	whole   chan struct{} // closed while pieces pass
	refuse  bool
	closed  bool
	observe func() (sent, received func([]byte)) // nil: nobody observes
	open    sync.WaitGroup
}

// OpenProxy listens on a port of 127.0.0.1 for those who want the server at the
// address: "tcp" and host:port, or "unix" and a socket's path. What either side
// says arrives oneWay later, however much is under way. Close it.
func OpenProxy(ctx context.Context, network, address string, oneWay time.Duration) (*Proxy, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		listener: listener, network: network, address: address, oneWay: oneWay,
		conns: map[net.Conn]*wire{}, whole: make(chan struct{}),
	}
	close(p.whole)
	p.open.Go(p.accept)
	return p, nil
}

// OpenPostgresProxy is [OpenProxy] for the server of a database, whose address
// through the proxy it returns: the same without TLS.
func OpenPostgresProxy(ctx context.Context, database string, oneWay time.Duration) (p *Proxy, through string, err error) {
	config, err := pgconn.ParseConfig(database)
	if err != nil {
		return nil, "", err
	}
	network, address := pgconn.NetworkAddress(config.Host, config.Port)
	if p, err = OpenProxy(ctx, network, address, oneWay); err != nil {
		return nil, "", err
	}
	return p, throughProxy(database, p.listener.Addr().(*net.TCPAddr)), nil
}

// throughProxy is the database's address, a URL or a list of words, with another
// server's place.
func throughProxy(database string, at *net.TCPAddr) string {
	u, err := url.Parse(database)
	if err != nil || !strings.HasPrefix(u.Scheme, "postgres") {
		return fmt.Sprintf("%s host=%s port=%d sslmode=disable", database, at.IP, at.Port)
	}
	query := u.Query()
	query.Del("host")
	query.Del("port")
	query.Set("sslmode", "disable")
	u.Host, u.RawQuery = at.String(), query.Encode()
	return u.String()
}

// Addr is where the proxy listens, as host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Observe calls begin for each new connection. The functions that it returns see what the client sent and what it received, piece
// by piece, before that is passed on; each is called by one goroutine at a time. Call it before there are connections.
func (p *Proxy) Observe(begin func() (sent, received func([]byte))) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.observe = begin
}

// Freeze lets nothing pass any more, either way, and nobody hears of it: the
// connections stay open, new ones are taken and get no answer. So does a network
// that drops packets.
func (p *Proxy) Freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.whole:
		p.whole = make(chan struct{})
	default: // frozen already
	}
}

// Swallow loses what is said from now on on the connections that are open, and nobody
// hears of it; new ones work. So does a failover to another server behind the same
// address, whose old server is gone without a word.
func (p *Proxy) Swallow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.conns {
		w.swallows.Store(true)
	}
}

// Cut ends all connections, and each new one at once. So does a network that
// says that the way is closed.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = true
	for conn := range p.conns {
		_ = conn.Close() // whoever carries for it ends, and closes the other end
	}
}

// Mend ends a Freeze, whose connections go on with what waited, and a Cut.
func (p *Proxy) Mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = false
	select {
	case <-p.whole:
	default:
		close(p.whole)
	}
}

// Connections is how many clients are connected, those that have no answer yet
// included.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns) / 2
}

// Close ends all connections and waits until nothing is carried any more. A
// second call does nothing.
func (p *Proxy) Close() error {
	err := p.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.Cut()
	p.Mend()
	p.open.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		server, err := net.Dial(p.network, p.address) //nolint:noctx // a server on this machine
		if err != nil {
			_ = client.Close()
			continue
		}
		p.join(client, server)
	}
}

// join passes on what two connections say until one of them ends.
func (p *Proxy) join(client, server net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.refuse {
		_, _ = client.Close(), server.Close()
		return
	}
	w := &wire{}
	sent, received := ignore, ignore
	if p.observe != nil {
		sent, received = p.observe()
	}
	p.conns[client], p.conns[server] = w, w
	end := func() {
		_, _ = client.Close(), server.Close() // the second time they are closed already
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, client)
		delete(p.conns, server)
	}
	p.open.Go(func() { defer end(); p.carry(w, server, client, sent) })
	p.open.Go(func() { defer end(); p.carry(w, client, server, received) })
}

func ignore([]byte) {}

// wire is a connection of a client with the server.
type wire struct {
	swallows atomic.Bool
}

// piece is what was said at once, and when it is to arrive.
type piece struct {
	due  time.Time
	data []byte
}

// carry shows and passes on what from says, later, until either side ends.
func (p *Proxy) carry(w *wire, to, from net.Conn, show func([]byte)) {
	pieces := make(chan piece, piecesUnderWay)
	gone := make(chan struct{})
	var reading sync.WaitGroup
	defer reading.Wait()
	defer from.Close() //nolint:errcheck // it ends the reading; both ends are closed twice anyway
	defer close(gone)
	reading.Go(func() { p.read(from, pieces, gone) })
	for next := range pieces {
		p.await(next.due)
		if w.swallows.Load() {
			continue
		}
		show(next.data)
		if _, err := to.Write(next.data); err != nil {
			return
		}
	}
}

// read reads until the connection ends or nobody wants what it says any more.
func (p *Proxy) read(from net.Conn, pieces chan<- piece, gone <-chan struct{}) {
	defer close(pieces)
	for {
		buffer := make([]byte, pieceSize)
		n, err := from.Read(buffer)
		select {
		case pieces <- piece{time.Now().Add(p.oneWay), buffer[:n]}:
		case <-gone:
			return
		}
		if err != nil {
			return
		}
	}
}

// await waits until a piece is due, and until the network is whole.
func (p *Proxy) await(due time.Time) {
	if left := time.Until(due); left > 0 {
		sleepExactly(left)
	}
	p.mu.Lock()
	whole := p.whole
	p.mu.Unlock()
	<-whole
}
