package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// updateFrom names what a rolling update begins with: a commit, or the absolute
// path of a worker's program. Without it: the commit before this one.
const updateFrom = "LETHE_UPDATE_FROM"

// rollingUpdate has workers of the commit before this one and of this one on one
// ledger and one stream: the new setup while the old ones work, one by one
// replaced, one of them killed, and all of it back again.
func rollingUpdate(t *testing.T) {
	t.Helper()
	total := drillTime(t, 8*time.Second)
	d := newDrill(t)
	program, what := previousWorker(t)
	d.printf("%s", what)
	old := d.with(program)
	old.must(t, "setup", "--sample-schema")
	d.watch(t)

	p := d.busyProducer(t, "update", mix{messages: 20, long: 5000, ahead: 400})
	work := func() { pause(t, total/6) }
	var fleet []*worker
	for range 3 {
		fleet = append(fleet, old.start(t))
	}
	d.phase(t, "old ones", "3", work)
	d.phase(t, "after the setup of the new", "3", func() {
		d.printf("  %s", strings.ReplaceAll(strings.TrimSpace(d.must(t, "setup")), "\n", "\n  "))
		work()
	})
	roll := func(to *rig, workers []*worker) (replaced []*worker) {
		for i, w := range workers {
			replaced = append(replaced, to.start(t))
			if i == 1 {
				w.kill()
			} else {
				w.term(t)
			}
			pause(t, total/9)
		}
		return replaced
	}
	d.phase(t, "old and new side by side", "3 to 4", func() { fleet = roll(d.rig, fleet) })
	d.phase(t, "new ones", "3", work)
	d.phase(t, "the update taken back", "3 to 4", func() { fleet = roll(old, fleet) })
	d.end(t, p, fleet...)
	d.verdict(t)
}

// previousWorker builds the worker of another commit, and says what the test is
// then. A checkout without an older commit gets this build: then it is a restart,
// and it says so, and how to have an update.
func previousWorker(t *testing.T) (program, what string) {
	t.Helper()
	asked := os.Getenv(updateFrom)
	if info, err := os.Stat(asked); err == nil && filepath.IsAbs(asked) && info.Mode().IsRegular() {
		return asked, "update from " + asked + " to this build"
	}
	commit, subject, err := commitOf(t, asked)
	switch {
	case err == nil:
		return buildCommit(t, commit), fmt.Sprintf("update from %.12s (%s) to this build", commit, subject)
	case asked != "":
		t.Fatalf("%s=%s is neither the absolute path of a program nor a commit of this checkout: %v", updateFrom, asked, err)
	}
	return workerBinary(t), fmt.Sprintf("a restart of this build, and no update: %v. For an update, `git fetch --unshallow`, or say %s=COMMIT or the absolute path of an older worker's program.", err, updateFrom)
}

// commitOf finds a commit of this project's own repository; "" is the one before
// HEAD.
func commitOf(t *testing.T, ref string) (commit, subject string, err error) {
	t.Helper()
	where, err := git(t, "rev-parse", "--show-prefix")
	if err != nil {
		return "", "", fmt.Errorf("no git history here: %w", err)
	}
	if where != "internal/e2e/" {
		return "", "", errors.New("no git history here: the repository around it is another one's")
	}
	if ref == "" {
		ref = "HEAD~1"
	}
	commit, err = git(t, "rev-parse", "--verify", "--end-of-options", ref+"^{commit}")
	if err != nil {
		return "", "", fmt.Errorf("no commit %s in git's history here: %w", ref, err)
	}
	subject, err = git(t, "log", "-1", "--format=%s", commit)
	return commit, subject, err
}

// buildCommit builds the worker as a commit has it.
func buildCommit(t *testing.T, commit string) (program string) {
	t.Helper()
	dir := t.TempDir()
	archive, tree, program := filepath.Join(dir, "tree.tar"), filepath.Join(dir, "tree"), filepath.Join(dir, "worker")
	must(t, os.Mkdir(tree, 0o700))
	// From the root: git would archive this folder alone.
	if _, err := git(t, "-C", "../..", "archive", "--format=tar", "--output="+archive, commit); err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{
		{"tar", "-xf", archive, "-C", tree},
		{"go", "build", "-C", tree, "-buildvcs=false", "-o", program, "./cmd/worker"},
	} {
		if out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("build the worker of %s: %v: %v\n%s", commit, argv, err, out)
		}
	}
	return program
}

// git runs git in this folder. The error has what git said.
func git(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, "git", args...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		said, _, _ := strings.Cut(strings.TrimSpace(string(exit.Stderr)), "\n")
		return "", fmt.Errorf("git: %s", said)
	}
	return strings.TrimSpace(string(out)), err
}
