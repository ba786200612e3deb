package pages

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Session runs a page as a reader does who copies each block into a shell. The
// package's documentation says how a page's blocks are marked.
type Session struct {
	// Dir is where the commands begin, and their home. It has to exist, and should be empty.
	Dir string
	// Env is what the commands find in their environment besides HOME, as NAME=value. PATH is this process's, unless it is there.
	Env []string
	// Instead has what stands on the page, such as an address, and what is meant by it here. In what commands print it is put
	// back. Longer keys go first.
	Instead map[string]string
	// NotRun names sh blocks by how they begin, and has the reason why each isn't run. A name that no block has is an error.
	NotRun map[string]string
	// Timeout is how long a block may take; 0 is a minute.
	Timeout time.Duration
	// Log receives each block with what it printed; nil is nobody.
	Log io.Writer
}

// stopTimeout is how long commands may take to end after the session, once they got SIGTERM.
const stopTimeout = 30 * time.Second

// Run runs the page's blocks in their order, in one shell. It stops at the first that ends with another status, prints
// something else or has written something else than the page says, and returns what was wrong with it.
func (s Session) Run(ctx context.Context, path string) (err error) {
	blocks, err := Blocks(path)
	if err != nil {
		return err
	}
	all, err := steps(blocks)
	if err != nil {
		return err
	}
	if err := s.leaveOut(path, all); err != nil {
		return err
	}
	sh, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sh.close()) }()
	for _, step := range all {
		if err := s.take(sh, step); err != nil {
			return fmt.Errorf("%s: %w%s", step.Where, err, s.there(sh.others()))
		}
	}
	return nil
}

// leaveOut makes blocks that are not run some for reading.
func (s Session) leaveOut(path string, all []*step) error {
	var errs []error
	for begin, reason := range s.NotRun {
		at := slices.IndexFunc(all, func(b *step) bool { return b.part == running && strings.HasPrefix(b.Text, begin) })
		switch {
		case at < 0:
			errs = append(errs, fmt.Errorf("%s: no sh block begins with %q, which is said not to be run", path, begin))
		case reason == "":
			errs = append(errs, fmt.Errorf("%s: no reason why %q is not run", all[at].Where, begin))
		}
		for _, b := range all {
			if b.part == running && strings.HasPrefix(b.Text, begin) {
				b.part = reading
			}
		}
	}
	return errors.Join(errs...)
}

// here is the page's text with what it means here.
func (s Session) here(text string) string { return s.replacer(false).Replace(text) }

// there is what was printed as the page would show it.
func (s Session) there(text string) string { return s.replacer(true).Replace(text) }

func (s Session) replacer(back bool) *strings.Replacer {
	var pairs [][2]string
	for page, meant := range s.Instead {
		if back {
			page, meant = meant, page
		}
		pairs = append(pairs, [2]string{page, meant})
	}
	slices.SortFunc(pairs, func(a, b [2]string) int { return len(b[0]) - len(a[0]) })
	var flat []string
	for _, p := range pairs {
		flat = append(flat, p[0], p[1])
	}
	return strings.NewReplacer(flat...)
}

// take takes one block.
func (s Session) take(sh *shell, b *step) error {
	switch b.part {
	case running:
		out, status, err := sh.run(s.here(b.Text), b)
		out = s.there(out)
		if s.Log != nil {
			fmt.Fprintf(s.Log, "== %s\n%s-- status %d\n%s", b.Where, b.Text, status, out)
		}
		switch {
		case err != nil:
			return fmt.Errorf("%w\n%s", err, out)
		case status != b.exit:
			return fmt.Errorf("status %d; want %d\n%s", status, b.exit, out)
		case b.print != "" && !b.beside:
			return Match(b.print, out)
		}
	case written:
		data, err := os.ReadFile(filepath.Join(s.Dir, b.file))
		if err != nil {
			return err
		}
		if err := Match(b.Text, s.there(string(data))); err != nil {
			return fmt.Errorf("%s: %w", b.file, err)
		}
	case reading, printed:
	}
	return nil
}

// shell is the session's bash. Its standard input has the path of a block on each line; what it answers on descriptor 3 is
// the status of each. Descriptor 4 is open as long as it or a command of it runs.
type shell struct {
	cmd     *exec.Cmd
	blocks  string // the folder of blocks and what they printed
	n       int
	beside  []string // files of what blocks beside the others print
	in      io.WriteCloser
	status  *os.File
	alive   *os.File
	timeout time.Duration
}

// loop is the shell's program. $1 is the session's folder. A block that has to succeed ends the shell at the first command
// that fails, and the shell ends with what runs beside it.
const loop = `
trap 'trap "" TERM; kill -TERM 0' EXIT
cd "$1" && shift
while read -r how block; do
	status=0
	case $how in
	beside) { . "$block"; } >"$block.out" 2>&1 </dev/null 3>&- & ;;
	strict)
		set -e
		trap 'echo "status $? of: $BASH_COMMAND"' ERR
		{ . "$block"; } >"$block.out" 2>&1 </dev/null 3>&-
		trap - ERR
		set +e
		;;
	status) { . "$block"; } >"$block.out" 2>&1 </dev/null 3>&-; status=$? ;;
	esac
	echo $status >&3
done
`

// open starts it.
func (s Session) open(ctx context.Context) (*shell, error) {
	blocks, err := os.MkdirTemp("", "lethe-blocks-")
	if err != nil {
		return nil, err
	}
	statusRead, statusWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	aliveRead, aliveWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	sh := &shell{blocks: blocks, status: statusRead, alive: aliveRead, timeout: s.Timeout}
	if sh.timeout == 0 {
		sh.timeout = time.Minute
	}
	sh.cmd = exec.CommandContext(ctx, "bash", "-c", loop, "page", s.Dir)
	sh.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.Dir, "LC_ALL=C.UTF-8", "TZ=UTC"}, s.Env...)
	sh.cmd.ExtraFiles = []*os.File{statusWrite, aliveWrite}
	sh.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if sh.in, err = sh.cmd.StdinPipe(); err == nil {
		err = sh.cmd.Start()
	}
	return sh, errors.Join(err, statusWrite.Close(), aliveWrite.Close())
}

// run runs one block and returns what it printed on both outputs.
func (sh *shell) run(text string, b *step) (out string, status int, err error) {
	sh.n++
	file := filepath.Join(sh.blocks, strconv.Itoa(sh.n))
	if err := errors.Join(os.WriteFile(file, []byte(text), 0o600), os.WriteFile(file+".out", nil, 0o600)); err != nil {
		return "", 0, err
	}
	how := "strict"
	switch {
	case b.beside:
		how = "beside"
		sh.beside = append(sh.beside, file+".out")
	case b.exit != 0:
		how = "status"
	}
	if _, err := fmt.Fprintln(sh.in, how, file); err != nil {
		return "", 0, err
	}
	if err := sh.status.SetReadDeadline(time.Now().Add(sh.timeout)); err != nil {
		return "", 0, err
	}
	_, err = fmt.Fscanln(sh.status, &status)
	printed, readErr := os.ReadFile(file + ".out")
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("not done after %v", sh.timeout)
	case errors.Is(err, io.EOF):
		err = errors.New("a command failed")
	}
	return string(printed), status, errors.Join(err, readErr)
}

// others is what blocks beside the others have printed.
func (sh *shell) others() string {
	var all strings.Builder
	for _, file := range sh.beside {
		out, err := os.ReadFile(file)
		fmt.Fprintf(&all, "\nbeside it: %v\n%s", err, out)
	}
	return all.String()
}

// close ends the shell and what still runs, and waits until all of it has ended.
func (sh *shell) close() error {
	err := sh.in.Close()
	_ = syscall.Kill(-sh.cmd.Process.Pid, syscall.SIGTERM) // also a block that didn't come to its end
	waited := sh.alive.SetReadDeadline(time.Now().Add(stopTimeout))
	if _, readErr := io.ReadAll(sh.alive); readErr != nil {
		waited = errors.Join(waited, fmt.Errorf("commands of the page still run %v after SIGTERM", stopTimeout), syscall.Kill(-sh.cmd.Process.Pid, syscall.SIGKILL))
	}
	_ = sh.cmd.Wait() // ended by our signal
	return errors.Join(err, waited, sh.status.Close(), sh.alive.Close(), os.RemoveAll(sh.blocks))
}
