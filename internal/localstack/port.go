package localstack

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
)

// Ports are taken from below those that Linux (from 32768) and macOS (from 49152)
// give to outgoing connections: while a server is stopped, none of those may take
// its port, and a client that retries must not connect to itself.
const (
	firstPort = 15000
	lastPort  = 32000
	portTries = 100
)

// port is a TCP port on 127.0.0.1 that is ours until it is released, also while no
// server listens on it: between a server's stop and its start another one, of this
// process or of another, would otherwise take it. The reservation is the UDP port of
// the same number, which the kernel frees however this process ends.
type port struct {
	number      int
	reservation net.PacketConn
}

// reservePort reserves a port that nobody listens on.
func reservePort() (*port, error) {
	failed := errors.New("no free port on 127.0.0.1")
	for range portTries {
		p, err := reserve(firstPort + rand.IntN(lastPort-firstPort))
		if err == nil {
			return p, nil
		}
		failed = errors.Join(failed, err)
	}
	return nil, failed
}

// reserve reserves the port of that number.
func reserve(number int) (*port, error) {
	reservation, err := new(net.ListenConfig).ListenPacket(context.Background(), "udp4", local(number))
	if err != nil {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp4", local(number))
	if err != nil {
		return nil, errors.Join(err, reservation.Close())
	}
	return &port{number, reservation}, listener.Close()
}

// release lets others have the port. A nil port has nothing to release.
func (p *port) release() error {
	if p == nil {
		return nil
	}
	return p.reservation.Close()
}
