package repo

import "syscall"

// tcpUserTimeout is TCP_USER_TIMEOUT of linux/tcp.h, which package syscall lacks.
const tcpUserTimeout = 18

// limitUnacknowledged lets the kernel give a TCP connection up whose other end has
// acknowledged nothing for a while, as after a silent failover.
func limitUnacknowledged(network, _ string, conn syscall.RawConn) error {
	if network == "unix" {
		return nil
	}
	return conn.Control(func(fd uintptr) {
		// Where that can't be set, the keepalives do, a little later.
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(unacknowledged.Milliseconds()))
	})
}
