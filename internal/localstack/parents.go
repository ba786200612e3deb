package localstack

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

const (
	// socketPath is the longest path of a unix socket that Linux (108 bytes with
	// the final zero) and macOS (104) take.
	socketPath = 103
	// memoryEnough is how much a file system in memory must have free to get a
	// cluster's data: several clusters with some million rows each, and no harm done.
	memoryEnough = 16 << 30
	// memoryFolder is where Linux has a file system in memory.
	memoryFolder = "/dev/shm"
)

// clusterParents is where a cluster's folder may be, the best first: where the
// account gets, and where the path of a socket is short enough. What need not be
// durable goes into memory where there is plenty: a database per test means
// hundreds of new files each, which some disks' file systems are slow with (ext4
// without a journal: 250 ms; memory: 30 ms). TMPDIR, if set, decides.
func clusterParents(who account, durable bool) []string {
	parents := []string{os.TempDir(), "/tmp", "/var/tmp"}
	if os.Getenv("TMPDIR") == "" && !durable && available(memoryFolder) >= memoryEnough {
		parents = slices.Insert(parents, 0, memoryFolder)
	}
	return slices.DeleteFunc(parents, func(parent string) bool {
		socket := filepath.Join(parent, "lethe-postgres-0123456789", ".s.PGSQL.65535")
		return len(socket) > socketPath || !who.reaches(parent)
	})
}

// available is the room on the folder's file system in bytes, or 0.
func available(folder string) uint64 {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(folder, &stat); err != nil || stat.Bsize < 0 {
		return 0
	}
	return stat.Bavail * uint64(stat.Bsize)
}
