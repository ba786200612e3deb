//go:build !linux

package e2e

import "syscall"

// endWithParent can't do it here: a child ends with its test, but outlives a
// kill -9 of the tests' process.
func endWithParent() *syscall.SysProcAttr { return nil }
