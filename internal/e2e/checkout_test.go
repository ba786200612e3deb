package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What CI has is often a clone of depth 1, and sometimes an unpacked archive.
func TestACheckoutWithoutAnOlderCommitSaysSo(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	whole := checkout{filepath.Join(root, "whole", "internal", "e2e")}
	must(t, os.MkdirAll(whole.dir, 0o700))
	lacks := func(c checkout, ref, want string) {
		t.Helper()
		if program, commit, err := c.worker(t, ref); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the worker of %q in %s = %s, %s, %v; want an error with %q", ref, c.dir, program, commit, err, want)
		}
	}
	run := func(c checkout, args ...string) {
		t.Helper()
		if _, err := c.git(t, append([]string{"-c", "user.name=e2e", "-c", "user.email=e2e@example.com", "-c", "commit.gpgsign=false"}, args...)...); err != nil {
			t.Fatal(args, err)
		}
	}
	lacks(whole, "", "no git history here")
	run(whole, "init", "--quiet", "../..")
	lacks(whole, "", "no commit HEAD~1")
	for _, text := range []string{"old", "new"} {
		must(t, os.WriteFile(filepath.Join(whole.dir, "file"), []byte(text), 0o600))
		run(whole, "add", "file")
		run(whole, "commit", "--quiet", "--message", text)
	}
	if _, subject, err := whole.commit(t, ""); err != nil || subject != "old" {
		t.Errorf("the commit before = %q, %v; want the older of two", subject, err)
	}
	lacks(whole, "", "build the worker of")
	run(whole, "clone", "--quiet", "--depth=1", "file://"+filepath.Join(root, "whole"), filepath.Join(root, "shallow"))
	lacks(checkout{filepath.Join(root, "shallow", "internal", "e2e")}, "", "no commit HEAD~1")
	lacks(checkout{filepath.Join(root, "shallow")}, "", "another one's")
}
