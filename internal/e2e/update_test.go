package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lethe-im/lethe/conversation"
)

// updateFrom names what a rolling update begins with: a commit, or the absolute
// path of a worker's program. Without it: the commit before this one.
const updateFrom = "LETHE_UPDATE_FROM"

// rollingUpdate has workers of the commit before this one and of this one on one
// ledger and one stream: the new setup while the old ones work, one by one
// replaced, one of them killed, and all of it back again. In each phase they lose their
// connections to the database once, and so probe it.
func rollingUpdate(t *testing.T) {
	t.Helper()
	total := drillTime(t, 3*time.Second)
	d := newDrill(t)
	program, what := previousWorker(t)
	d.printf("%s", what)
	old := d.with(program)
	old.must(t, "setup", "--sample-schema")
	d.watch(t)

	p := d.busyProducer(t, "update", mix{messages: 20, long: 5000, ahead: 400})
	work := func() {
		pause(t, total/12)
		d.exec(t, `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'lethe' and datname = current_database()`)
		pause(t, total/12)
	}
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
// then. Where there is none, as in a shallow clone or without git, and nobody asked
// for one by name, it is this build: then the update is a restart, and it says so,
// and how to have an update.
func previousWorker(t *testing.T) (program, what string) {
	t.Helper()
	asked := os.Getenv(updateFrom)
	if info, err := os.Stat(asked); err == nil && filepath.IsAbs(asked) && info.Mode().IsRegular() {
		return asked, "update from " + asked + " to this build"
	}
	program, what, err := checkout{"."}.worker(t, asked)
	if err == nil {
		return program, "update from " + what + " to this build"
	}
	if asked != "" {
		t.Fatalf("%s=%s is neither the absolute path of a program nor a commit of this checkout that can be built: %v", updateFrom, asked, err)
	}
	return workerBinary(t), fmt.Sprintf("ONLY A RESTART of this build, and no update: %v. For an update, `git fetch --unshallow`, or say %s=COMMIT or the absolute path of an older worker's program.", err, updateFrom)
}

// checkout is this folder of a checkout of this project, or of a test's.
type checkout struct{ dir string }

// worker builds the worker of a commit, and says which commit that is.
func (c checkout) worker(t *testing.T, ref string) (program, commit string, err error) {
	t.Helper()
	commit, subject, err := c.commit(t, ref)
	if err != nil {
		return "", "", err
	}
	program, err = c.build(t, commit)
	return program, fmt.Sprintf("%.12s (%s)", commit, subject), err
}

// commit finds a commit of this project's own repository; "" is the one before
// HEAD.
func (c checkout) commit(t *testing.T, ref string) (commit, subject string, err error) {
	t.Helper()
	where, err := c.git(t, "rev-parse", "--show-prefix")
	if err != nil {
		return "", "", fmt.Errorf("no git history here: %w", err)
	}
	if where != "internal/e2e/" {
		return "", "", errors.New("no git history here: the repository around it is another one's")
	}
	if ref == "" {
		ref = "HEAD~1"
	}
	commit, err = c.git(t, "rev-parse", "--verify", "--end-of-options", ref+"^{commit}")
	if err != nil {
		return "", "", fmt.Errorf("no commit %s in git's history here: %w", ref, err)
	}
	subject, err = c.git(t, "log", "-1", "--format=%s", commit)
	return commit, subject, err
}

// build builds the worker as a commit has it: in the checkout, with the commit's files in place of those that
// differ, so that most of it is compiled already.
func (c checkout) build(t *testing.T, commit string) (program string, err error) {
	t.Helper()
	dir := t.TempDir()
	archive, tree, program := filepath.Join(dir, "tree.tar"), filepath.Join(dir, "tree"), filepath.Join(dir, "worker")
	must(t, os.Mkdir(tree, 0o700))
	// From the root: git would archive this folder alone.
	if _, err := c.git(t, "-C", "../..", "archive", "--format=tar", "--output="+archive, commit); err != nil {
		return "", fmt.Errorf("the files of %s: %w", commit, err)
	}
	if out, err := exec.CommandContext(t.Context(), "tar", "-xf", archive, "-C", tree).CombinedOutput(); err != nil {
		return "", fmt.Errorf("the files of %s: %w\n%s", commit, err, out)
	}
	overlay, err := c.overlay(t, commit, tree)
	if err != nil {
		return "", fmt.Errorf("the files of %s: %w", commit, err)
	}
	file := filepath.Join(dir, "overlay.json")
	must(t, os.WriteFile(file, overlay, 0o600))
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-ldflags=-s -w", "-overlay", file, "-o", program, "../../cmd/worker")
	cmd.Dir = c.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the worker of %s: %w\n%s", commit, err, out)
	}
	return program, nil
}

// overlay is go build's: for each file of the checkout that differs from a commit, the commit's in tree, or none.
func (c checkout) overlay(t *testing.T, commit, tree string) ([]byte, error) {
	t.Helper()
	root, err := c.git(t, "rev-parse", "--show-toplevel")
	if err != nil {
		return nil, err
	}
	differ, err := c.git(t, "-C", root, "diff", "--name-only", "--no-renames", "-z", commit)
	if err != nil {
		return nil, err
	}
	more, err := c.git(t, "-C", root, "ls-files", "--others", "--exclude-standard", "-z")
	if err != nil {
		return nil, err
	}
	replace := map[string]string{}
	for name := range strings.SplitSeq(differ+"\x00"+more, "\x00") {
		if name == "" {
			continue
		}
		old := filepath.Join(tree, name)
		if _, err := os.Stat(old); err != nil {
			old = "" // the commit has no such file
		}
		replace[filepath.Join(root, name)] = old
	}
	return json.Marshal(map[string]any{"Replace": replace})
}

// git runs git in this folder. The error has what git said.
func (c checkout) git(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = c.dir
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		said, _, _ := strings.Cut(strings.TrimSpace(string(exit.Stderr)), "\n")
		return "", fmt.Errorf("git: %s", said)
	}
	return strings.TrimSpace(string(out)), err
}

// A ledger of older workers keeps their key until the first command for everyone. That waits for an
// old transaction, which is no attempt, and others' commands don't wait behind it.
func TestTheFirstCommandForEveryoneWidensTheLedgersKey(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(t, `alter table lethe.deletions drop constraint deletions_pkey, add primary key (app_id, command_id, conversation_id)`)
	r.exec(t, `create unique index deletions_key on lethe.deletions (app_id, command_id, user_id, conversation_id)`)
	for _, user := range []string{"alice", "bob", "carol"} {
		r.fill(t, chat{"demo", user, "group_1"}, 3)
	}
	other := chat{"demo", "dave", "c2c_eve"}
	r.fill(t, other, 3)
	r.start(t)
	release := r.hold(t, `select from lethe.deletions`)
	cmd := chat{"demo", "boss", "group_1"}.ask()
	cmd.Scope = conversation.ScopeEveryone
	r.send(t, cmd)
	eventually(t, timeout, "the worker has met the lock", func() bool {
		return one[bool](t, r, `select exists (select from pg_locks where relation = 'lethe.deletions'::regclass and mode = 'AccessExclusiveLock' and not granted)`)
	})
	self := other.ask()
	r.send(t, self)
	wantFields(t, r.deleted(t, self.CommandID, other.id), "messages_deleted", 3)
	if n := one[int](t, r, `select count(*) from chat.messages`); n != 9 {
		t.Errorf("%d messages are left while the transaction is open; want 9", n)
	}
	release()
	for _, e := range r.awaitStored(t, 3, of(cmd.CommandID)) {
		wantFields(t, e, "messages_deleted", 3, "requested_by", "boss")
	}
	if n := one[int](t, r, `select indnkeyatts::int from pg_index where indexrelid = 'lethe.deletions_pkey'::regclass`); n != 4 {
		t.Errorf("the ledger's key has %d columns; want 4", n)
	}
	r.noAttempts(t)
}
