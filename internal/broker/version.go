package broker

import (
	"fmt"

	"github.com/nats-io/nats.go"
)

// release is a version of nats-server 2.
type release struct{ minor, patch int }

func (r release) String() string {
	if r.patch == 0 {
		return fmt.Sprintf("2.%d", r.minor)
	}
	return fmt.Sprintf("2.%d.%d", r.minor, r.patch)
}

// The versions that are needed.
var (
	// oldestServer answers a direct get from any sequence on, by which events are read: 2.11.0 doesn't from
	// one that is gone, and 2.10 knows no batches.
	oldestServer = release{12, 0}
	// oldestAppServer has consumers that acknowledge by flow control, from which an app's stream sources. With
	// 2.14.0 the stream doesn't follow; none between was tried.
	oldestAppServer = release{14, 10}
)

// checkServer returns an error if the server that nc is connected to is older than
// needed, which what needs.
func checkServer(nc *nats.Conn, needed release, what string) error {
	version := nc.ConnectedServerVersion()
	if !olderThan(version, needed) {
		return nil
	}
	return fmt.Errorf("nats-server %s at %s is too old: %s needs %v or newer: upgrade it", version, nc.ConnectedUrlRedacted(), what, needed)
}

// olderThan reports whether a version of nats-server is older than needed. One that
// doesn't begin with numbers is somebody's own build, and isn't.
func olderThan(version string, needed release) bool {
	var major, minor, patch int
	if n, _ := fmt.Sscanf(version, "%d.%d.%d", &major, &minor, &patch); n < 2 {
		return false
	}
	return major < 2 || major == 2 && (minor < needed.minor || minor == needed.minor && patch < needed.patch)
}
