package localstack

import (
	"bytes"
	"context"
	_ "embed" // for find-postgres.sh
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// findPostgres is the search for server programs, shared with scripts/deps.
//
//go:embed find-postgres.sh
var findPostgres string

// ErrNoPostgres says that this machine has no Postgres server to start. The text
// around it says what to install.
var ErrNoPostgres = errors.New("no Postgres server programs found")

// howToInstall goes with ErrNoPostgres.
const howToInstall = `"make deps" installs them, or do it yourself:
	Debian, Ubuntu:  apt-get install postgresql
	Fedora, RHEL:    dnf install postgresql-server
	Alpine:          apk add postgresql
	Arch:            pacman -S postgresql
	macOS:           brew install postgresql@17
or name their folder in LETHE_POSTGRES_BIN, or a running server in DATABASE_URL`

// account is the user that server programs run as. The zero value is the user of
// this process.
type account struct {
	name       string
	credential *syscall.Credential
}

// serverAccount is the zero account, except for root, as whom Postgres refuses to
// run: then it is the user postgres, or else nobody.
func serverAccount() (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(found.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(found.Gid, 10, 32)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return account{}, fmt.Errorf("user %s: %w", name, err)
		}
		return account{name: name, credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
	}
	return account{}, errors.New("postgres refuses to run as root, and there is neither a user postgres nor a user nobody")
}

// reaches reports whether the account may enter the folder, which takes the right
// to search it and every folder above it.
func (a account) reaches(folder string) bool {
	if a.credential == nil {
		return true
	}
	for ; ; folder = filepath.Dir(folder) {
		info, err := os.Stat(folder)
		if err != nil || !a.searches(info) {
			return false
		}
		if folder == filepath.Dir(folder) {
			return true
		}
	}
}

// searches reports whether the folder's mode lets the account search it.
func (a account) searches(info os.FileInfo) bool {
	mode := info.Mode().Perm()
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case ok && stat.Uid == a.credential.Uid:
		return mode&0o100 != 0
	case ok && stat.Gid == a.credential.Gid:
		return mode&0o010 != 0
	default:
		return mode&0o001 != 0
	}
}

// own gives a folder of this process to the account.
func (a account) own(folder string) error {
	if a.credential == nil {
		return nil
	}
	return os.Chown(folder, int(a.credential.Uid), int(a.credential.Gid))
}

// programs are a Postgres server's programs and the user to run them as.
type programs struct {
	bin     string   // folder of postgres and initdb
	env     []string // what they need
	account account
}

// findPrograms searches this machine as the user that will run the programs, with
// this environment; of that major version, if it isn't 0. It returns ErrNoPostgres
// with what to install if there are none.
func findPrograms(ctx context.Context, environ []string, major int) (programs, error) {
	who, err := serverAccount()
	if err != nil {
		return programs{}, err
	}
	args := []string{"-c", findPostgres, "find-postgres"}
	if major > 0 {
		args = append(args, strconv.Itoa(major))
	}
	search := exec.CommandContext(ctx, "sh", args...)
	search.Dir = "/"
	search.Env = environ
	search.SysProcAttr = &syscall.SysProcAttr{Credential: who.credential}
	out, err := search.Output()
	var status *exec.ExitError
	switch {
	case errors.As(err, &status) && status.Exited() && major > 0:
		return programs{}, fmt.Errorf("%w of version %d: run: scripts/deps --postgres %d", ErrNoPostgres, major, major)
	case errors.As(err, &status) && status.Exited():
		return programs{}, noPostgres(who, environ)
	case err != nil:
		return programs{}, fmt.Errorf("search for Postgres: %w", err)
	}
	bin, libraries, _ := strings.Cut(string(bytes.TrimSuffix(out, []byte("\n"))), "\n")
	// Nothing of the caller's environment may bend the server: no PGDATA, no locale.
	env := []string{"PATH=" + bin + ":/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
	if libraries != "" {
		env = append(env, "LD_LIBRARY_PATH="+libraries)
	}
	return programs{bin: bin, env: env, account: who}, nil
}

// noPostgres is ErrNoPostgres with where was searched and what to install.
func noPostgres(who account, environ []string) error {
	var named, where string
	for _, variable := range environ {
		if value, found := strings.CutPrefix(variable, "LETHE_POSTGRES_BIN="); found {
			named = value
		}
	}
	switch named {
	case "":
	case "none":
		where = " in the private copy (LETHE_POSTGRES_BIN is none)"
	default:
		where = fmt.Sprintf(" in LETHE_POSTGRES_BIN (%s: postgres and initdb)", named)
	}
	if who.name != "" {
		where += fmt.Sprintf(" that the user %s can run", who.name)
	}
	return fmt.Errorf("%w%s: %s", ErrNoPostgres, where, howToInstall)
}
