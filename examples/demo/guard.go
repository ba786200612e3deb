package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// guardScript is a process of its own that cleans up once this one has gone,
// however it went: kill -9 leaves no time to do it here. Each line of its input
// is the process group to end then, or "none"; $1 is the folder to remove.
const guardScript = `
trap '' HUP INT PIPE TERM
group=none
while read -r word; do group=$word; done
[ "$group" = none ] || kill -s KILL -- "-$group"
rm -rf "$1"
`

// guard keeps a temporary folder and a process from outliving the demo.
type guard struct {
	folder string
	cmd    *exec.Cmd
	tell   io.WriteCloser
}

// newGuard makes the folder.
func newGuard() (*guard, error) {
	folder, err := os.MkdirTemp("", "lethe-demo-")
	if err != nil {
		return nil, err
	}
	g := &guard{folder: folder, cmd: exec.Command("sh", "-c", guardScript, "lethe-demo", folder)} //nolint:noctx // it must outlive every context
	g.cmd.Dir = "/"
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C is not for it
	if g.tell, err = g.cmd.StdinPipe(); err == nil {
		err = g.cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	return g, nil
}

// start starts cmd in a process group of its own, which Ctrl-C doesn't reach, and
// sees to it that the group ends with the demo. It forgets the process that it
// was given before.
func (g *guard) start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	return g.watch(strconv.Itoa(cmd.Process.Pid))
}

// forget is for when the process has ended.
func (g *guard) forget() error { return g.watch("none") }

func (g *guard) watch(group string) error {
	_, err := fmt.Fprintln(g.tell, group)
	return err
}

// close removes the folder.
func (g *guard) close() error {
	return errors.Join(g.forget(), g.tell.Close(), g.cmd.Wait())
}
