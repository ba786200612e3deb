package localstack

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are taken from below those that Linux (from 32768) and macOS (from 49152)
// give to outgoing connections: while a server is stopped, none of those may take
// its port, and a client that retries must not connect to itself.
const (
	firstPort = 15000
	lastPort  = 32000
	portTries = 100
)

// freePort is a port on 127.0.0.1 that nobody listens on at this moment.
func freePort() (int, error) {
	var failed error
	for range portTries {
		port := firstPort + rand.IntN(lastPort-firstPort)
		listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return port, listener.Close()
		}
		failed = err
	}
	return 0, errors.Join(errors.New("no free port on 127.0.0.1"), failed)
}
