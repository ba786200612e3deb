package e2e

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// smallDisk is a file system of 64 MiB, owned by whom owner belongs to; fill fills it to
// the last byte, and drain makes room again. It takes the right to mount: ok is false
// without.
func smallDisk(t testing.TB, owner string) (folder string, fill, drain func(t *testing.T), ok bool) {
	t.Helper()
	folder = t.TempDir()
	if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, "size=64m"); errors.Is(err, syscall.EPERM) {
		return "", nil, nil, false
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(folder, syscall.MNT_DETACH) })
	for at := folder; at != "/" && at != os.TempDir(); at = filepath.Dir(at) {
		must(t, os.Chmod(at, 0o755)) //nolint:gosec // the server runs as another user
	}
	info, err := os.Stat(owner)
	must(t, err)
	must(t, os.Chown(folder, int(info.Sys().(*syscall.Stat_t).Uid), -1))
	ballast := filepath.Join(folder, "ballast")
	fill = func(t *testing.T) {
		t.Helper()
		f, err := os.Create(ballast)
		must(t, err)
		if _, err := io.Copy(f, zeros{}); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("filling the disk ends with %v; want it full", err)
		}
		must(t, f.Close())
	}
	return folder, fill, func(t *testing.T) { t.Helper(); must(t, os.Remove(ballast)) }, true
}

// zeros is read without end.
type zeros struct{}

// Read implements io.Reader.
func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
