//go:build crashpoints

// Package crash lets a test end the worker, as kill -9 would, at a named step.
package crash

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

var (
	// LETHE_CRASH_AT is a point's name, or name:n for the n-th time it is passed.
	armed, nth = parse(os.Getenv("LETHE_CRASH_AT"))
	passed     atomic.Int64
)

func parse(v string) (string, int64) {
	name, n, ok := strings.Cut(v, ":")
	if !ok {
		return name, 1
	}
	i, err := strconv.ParseInt(n, 10, 64)
	if err != nil {
		panic("BUG: LETHE_CRASH_AT: " + err.Error())
	}
	return name, i
}

// Point kills the process, without any cleaning up, if it is the armed one.
func Point(name string) {
	if name == armed && passed.Add(1) == nth {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal is on its way
	}
}
