package localstack

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// writeProgram makes a shell script that says it is what it is not.
func writeProgram(t *testing.T, path, version string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\necho 'postgres (PostgreSQL) " + version + "'\n"
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
}

// writeServer makes a folder that looks like a server's programs.
func writeServer(t *testing.T, bin, version string) {
	t.Helper()
	writeProgram(t, filepath.Join(bin, "postgres"), version)
	writeProgram(t, filepath.Join(bin, "initdb"), version)
}

func TestFindPrograms(t *testing.T) {
	t.Parallel()
	const path = "PATH=/usr/bin:/bin"

	t.Run("takes the folder of LETHE_POSTGRES_BIN", func(t *testing.T) {
		t.Parallel()
		bin := filepath.Join(openFolder(t), "bin")
		writeServer(t, bin, "16.2 (Debian 16.2-1)")
		found, err := findPrograms(t.Context(), []string{path, "LETHE_POSTGRES_BIN=" + bin}, 0)
		if err != nil || found.bin != bin {
			t.Errorf("findPrograms = %q, %v; want %q", found.bin, err, bin)
		}
	})
	t.Run("takes what is in PATH", func(t *testing.T) {
		t.Parallel()
		bin := filepath.Join(openFolder(t), "bin")
		writeServer(t, bin, "16.2")
		writeProgram(t, filepath.Join(bin, "pg_config"), "not a folder")
		found, err := findPrograms(t.Context(), []string{"PATH=" + bin + ":/usr/bin:/bin"}, 0)
		if err != nil || found.bin != bin {
			t.Errorf("findPrograms = %q, %v; want %q", found.bin, err, bin)
		}
	})
	t.Run("takes the newest private copy with its libraries", func(t *testing.T) {
		t.Parallel()
		cache := openFolder(t)
		private := filepath.Join(cache, "lethe", "postgres", "usr", "lib")
		for _, version := range []string{"9", "14", "18", "17"} {
			writeServer(t, filepath.Join(private, "postgresql", version, "bin"), version+".1")
		}
		libraries := filepath.Join(private, "x86_64-linux-gnu")
		if err := os.Mkdir(libraries, 0o755); err != nil {
			t.Fatal(err)
		}
		found, err := findPrograms(t.Context(), []string{path, "LETHE_POSTGRES_BIN=none", "XDG_CACHE_HOME=" + cache}, 0)
		if want := filepath.Join(private, "postgresql", "18", "bin"); err != nil || found.bin != want {
			t.Errorf("findPrograms = %q, %v; want %q", found.bin, err, want)
		}
		if want := "LD_LIBRARY_PATH=" + libraries; found.env[len(found.env)-1] != want {
			t.Errorf("env = %q; want %s last", found.env, want)
		}
	})
	t.Run("leaves what is too old, unless it is named", func(t *testing.T) {
		t.Parallel()
		old := filepath.Join(openFolder(t), "old")
		writeServer(t, old, "12.9")
		writeProgram(t, filepath.Join(old, "pg_config"), old)
		found, err := findPrograms(t.Context(), []string{"PATH=" + old + ":/usr/bin:/bin", "XDG_CACHE_HOME=/nonexistent"}, 0)
		if (err != nil || found.bin == old) && !errors.Is(err, ErrNoPostgres) {
			t.Errorf("findPrograms = %q, %v; want another, or none", found.bin, err)
		}
		found, err = findPrograms(t.Context(), []string{path, "LETHE_POSTGRES_BIN=" + old}, 0)
		if err != nil || found.bin != old {
			t.Errorf("findPrograms of a named folder = %q, %v; want it", found.bin, err)
		}
	})
	t.Run("refuses what is half there, and says what to install", func(t *testing.T) {
		t.Parallel()
		half := filepath.Join(openFolder(t), "half")
		writeProgram(t, filepath.Join(half, "postgres"), "16.2")
		for _, named := range []string{half, "/nonexistent", "none"} {
			_, err := findPrograms(t.Context(), []string{path, "LETHE_POSTGRES_BIN=" + named}, 0)
			if !errors.Is(err, ErrNoPostgres) {
				t.Fatalf("findPrograms with %s = %v; want ErrNoPostgres", named, err)
			}
			for _, word := range []string{"make deps", "DATABASE_URL", "apt-get install postgresql", "brew install", named} {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("error has no %q: %v", word, err)
				}
			}
		}
	})
}

func TestAccountReaches(t *testing.T) {
	t.Parallel()
	open := openFolder(t)
	closed := filepath.Join(open, "closed")
	if err := os.MkdirAll(filepath.Join(closed, "below"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	stranger := account{name: "stranger", credential: &syscall.Credential{Uid: 4_000_000, Gid: 4_000_000}}
	owner := account{name: "owner", credential: &syscall.Credential{Uid: uint32(os.Geteuid()), Gid: 4_000_000}}
	for _, test := range []struct {
		name   string
		who    account
		folder string
		want   bool
	}{
		{"a stranger reaches an open folder", stranger, open, true},
		{"a stranger doesn't reach a closed folder", stranger, closed, false},
		{"a stranger doesn't reach what is below it", stranger, filepath.Join(closed, "below"), false},
		{"the owner does", owner, filepath.Join(closed, "below"), true},
		{"nobody reaches what isn't there", owner, filepath.Join(open, "missing"), false},
		{"without another account everything is left to the system", account{}, closed, true},
	} {
		if got := test.who.reaches(test.folder); got != test.want {
			t.Errorf("%s: reaches = %t; want %t", test.name, got, test.want)
		}
	}
}

func TestRootRunsServersAsSomebodyElse(t *testing.T) {
	t.Parallel()
	who, err := serverAccount()
	if err != nil {
		t.Fatal(err)
	}
	if isRoot := os.Geteuid() == 0; isRoot != (who.credential != nil) {
		t.Errorf("serverAccount = %+v; as root: %t", who, isRoot)
	}
}
