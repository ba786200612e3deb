package main

import "runtime/debug"

// The worker's live heap is a few megabytes, so that the collector's default
// would run it all the time: at full load more than half of the worker's CPU
// time, and about a third less of it in all with gcPercent (bench, S1). The limit keeps the
// peak below 64 MB.
const (
	gcPercent   = 400
	memoryLimit = 48 << 20
)

// tuneMemory sets the collector up, unless the environment does (GOGC,
// GOMEMLIMIT).
func tuneMemory(getenv func(string) string) {
	if getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
}
