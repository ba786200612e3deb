package localstack

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// folderGuard makes the folder $1 and removes it once nobody holds the other end
// of its standard input any more. It outlives the signals that end a terminal's
// or a machine's processes all at once, or it could not do its work; and PIPE,
// which it gets for "made" when this process is gone already.
const folderGuard = `
exec 2>&1
trap '' HUP INT PIPE TERM
mkdir -m 700 "$1" || exit 1
echo made
while read -r _; do :; done
rm -rf "$1"
`

// folder is a temporary folder that is removed when this process and every
// process that was given hold have gone, whatever ended them.
type folder struct {
	path   string
	hold   *os.File // the write end of the guard's standard input
	guard  *exec.Cmd
	report io.ReadCloser // what the guard has to say
}

// newFolder makes a folder below the first of parents that exists. Its name
// starts with prefix.
func newFolder(ctx context.Context, parents []string, prefix string) (*folder, error) {
	parent := firstFolder(parents)
	if parent == "" {
		return nil, fmt.Errorf("no folder for temporary data among %s", strings.Join(parents, ", "))
	}
	awaited, hold, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer awaited.Close() //nolint:errcheck // the guard has its own; nothing was written
	f := &folder{path: filepath.Join(parent, prefix+strings.ToLower(rand.Text()[:10])), hold: hold}
	if err := f.startGuard(ctx, awaited); err != nil {
		return nil, errors.Join(fmt.Errorf("temporary folder %s: %w", f.path, err), hold.Close())
	}
	return f, nil
}

// firstFolder is the first of paths that is a folder, or "".
func firstFolder(paths []string) string {
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return path
		}
	}
	return ""
}

// startGuard starts the guard and waits until it has made the folder.
func (f *folder) startGuard(ctx context.Context, awaited *os.File) error {
	f.guard = exec.CommandContext(context.WithoutCancel(ctx), "sh", "-c", folderGuard, "lethe-folder", f.path)
	f.guard.Dir = "/"
	f.guard.Stdin = awaited
	f.guard.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	report, err := f.guard.StdoutPipe()
	if err != nil {
		return err
	}
	if err := f.guard.Start(); err != nil {
		return err
	}
	f.report = report
	line, err := bufio.NewReader(report).ReadString('\n')
	if err != nil || line != "made\n" {
		return errors.Join(fmt.Errorf("guard: %q", line), err, f.guard.Wait())
	}
	return nil
}

// remove lets go of the folder and waits until the guard has removed it. Every
// process that holds it must have ended, or remove waits for it. Call it once.
func (f *folder) remove() error {
	err := f.hold.Close()
	said, readErr := io.ReadAll(f.report)
	if waitErr := f.guard.Wait(); waitErr != nil || len(said) > 0 {
		err = errors.Join(err, fmt.Errorf("remove %s: %s", f.path, said), waitErr)
	}
	return errors.Join(err, readErr)
}
