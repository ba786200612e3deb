package localstack

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestFolderGoesWithItsLastHolder(t *testing.T) {
	t.Parallel()
	f, err := newFolder(t.Context(), []string{"/nonexistent", openFolder(t)}, "held-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.path, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	holder := processSpec{hold: f.hold}.command(t.Context(), "sh", "-c", "read -r _")
	release, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	removed := make(chan error)
	go func() { removed <- f.remove() }()
	if !exists(f.path) {
		t.Errorf("%s has gone before its holder", f.path)
	}
	if err := release.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-removed; err != nil {
		t.Errorf("remove = %v; want nil", err)
	}
	if exists(f.path) {
		t.Errorf("%s is still there", f.path)
	}
	_ = holder.Wait() // read at the end of its input: status 1
}

func TestFolderGoesWhenItsMakerIsKilledBeforeItKnows(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "folder")
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := read.Close(); err != nil {
		t.Fatal(err)
	}
	guard := exec.CommandContext(t.Context(), "sh", "-c", folderGuard, "guard", path) // no input, nobody to report to
	guard.Stdout = write
	_ = guard.Run() // the status has nobody to go to, either
	if err := write.Close(); err != nil {
		t.Fatal(err)
	}
	if exists(path) {
		t.Errorf("%s is still there", path)
	}
}

func TestFolderSaysWhyItCanNotBeMade(t *testing.T) {
	t.Parallel()
	if _, err := newFolder(t.Context(), []string{"/nonexistent"}, "x-"); err == nil || !strings.Contains(err.Error(), "/nonexistent") {
		t.Errorf("newFolder = %v; want an error that names the folders", err)
	}
	parent := openFolder(t)
	if _, err := newFolder(t.Context(), []string{parent}, "no/such/"); err == nil || !strings.Contains(err.Error(), "mkdir") {
		t.Errorf("newFolder = %v; want what mkdir said", err)
	}
}
