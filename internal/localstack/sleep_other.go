//go:build !linux

package localstack

import "time"

// sleepExactly sleeps as exactly as the runtime's timers do.
func sleepExactly(d time.Duration) { time.Sleep(d) }
