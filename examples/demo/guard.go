package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// guardScript runs in a separate process, which cleans up once this one has gone,
// however it went: kill -9 leaves no time to do it here. Each line of its input
// adds (+) or takes away (-) a process group to end then; $1 is the folder to
// remove.
const guardScript = `
trap '' HUP INT PIPE TERM
groups=' '
while read -r what group; do
  case $what in
  +) groups="$groups$group " ;;
  -) groups="${groups%% $group *} ${groups#* $group }" ;;
  esac
done
for group in $groups; do kill -s KILL -- "-$group"; done
rm -rf "$1"
`

// guard keeps a temporary folder and processes from outliving the demo.
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
// sees to it that the group ends with the demo.
func (g *guard) start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	return g.tellOf("+", cmd)
}

// forget is for when a process that start has started has ended.
func (g *guard) forget(cmd *exec.Cmd) error { return g.tellOf("-", cmd) }

func (g *guard) tellOf(what string, cmd *exec.Cmd) error {
	_, err := fmt.Fprintln(g.tell, what, cmd.Process.Pid)
	return err
}

// close removes the folder. No process is left.
func (g *guard) close() error { return errors.Join(g.tell.Close(), g.cmd.Wait()) }
