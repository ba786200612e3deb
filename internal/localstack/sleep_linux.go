package localstack

import (
	"errors"
	"syscall"
	"time"
)

// sleepExactly sleeps to some hundredths of a millisecond: the runtime's own
// timers, which wait in whole milliseconds while nothing else runs, would make
// a way of 2.5 ms one of 3.5.
func sleepExactly(d time.Duration) {
	left := syscall.NsecToTimespec(d.Nanoseconds())
	for d > 0 && errors.Is(syscall.Nanosleep(&left, &left), syscall.EINTR) {
		// a signal of the runtime's; what is left is in left
	}
}
