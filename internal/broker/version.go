package broker

import (
	"fmt"

	"github.com/nats-io/nats.go"
)

// The minor versions of nats-server 2 that are needed.
const (
	// oldestServer answers a direct get from any sequence on, by which events are read: 2.11.0 doesn't from
	// one that is gone, and 2.10 knows no batches.
	oldestServer = 12
	// oldestAppServer has consumers that acknowledge by flow control, from which an app's stream sources.
	oldestAppServer = 14
)

// checkServer returns an error if the server that nc is connected to is older than
// 2.minor, which what needs.
func checkServer(nc *nats.Conn, minor int, what string) error {
	version := nc.ConnectedServerVersion()
	if !olderThan(version, minor) {
		return nil
	}
	return fmt.Errorf("nats-server %s at %s is too old: %s needs 2.%d or newer: upgrade it", version, nc.ConnectedUrlRedacted(), what, minor)
}

// olderThan reports whether a version of nats-server is older than 2.minor. One that
// doesn't begin with numbers is somebody's own build, and isn't.
func olderThan(version string, minor int) bool {
	var major, found int
	_, err := fmt.Sscanf(version, "%d.%d", &major, &found)
	return err == nil && (major < 2 || major == 2 && found < minor)
}
