package e2e

import "syscall"

// endWithParent has the kernel kill a child when this process is gone, however
// it ends.
func endWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
