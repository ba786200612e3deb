package clients

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/internal/localstack"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

func TestMain(m *testing.M) {
	localtest.Main(m, func() error { return os.RemoveAll(built.dir) })
}

// timeout is how long a test waits for what takes milliseconds, on a machine
// that has other things to do.
const timeout = 60 * time.Second

// built is what all tests use: the worker, and each language's programs.
var built struct {
	once sync.Once
	dir  string
	err  error
}

// build builds the worker and what the languages need, once.
func build(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "lethe-clients-"); built.err != nil { //nolint:usetesting // for all tests, not for this one
			return
		}
		// Not the test's context: what is built outlives the test.
		ctx := context.Background()
		built.err = localstack.Build(ctx, filepath.Join(built.dir, "worker"), "cmd/worker", "-ldflags=-s -w")
		for _, l := range languages {
			if built.err == nil {
				built.err = l.prepare(ctx, filepath.Join(built.dir, l.name))
			}
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.dir
}

// language is a pair of programs, gateway and presence.
type language struct {
	name    string
	prepare func(ctx context.Context, dir string) error // makes dir ready for call
	call    func(dir, program string) []string          // the call of a program, without its arguments
}

// variable names, with spaces between, the languages that are tested beside Go and Node.
const variable = "LETHE_TEST_CLIENTS"

var languages = chosen(os.Getenv(variable))

// chosen are the languages to test.
func chosen(more string) []language {
	all := []language{goClients, nodeClients}
	for _, name := range strings.Fields(more) {
		switch name {
		case "python":
			all = append(all, pythonClients)
		case "java":
			all = append(all, javaClients)
		default:
			all = append(all, language{name: name, prepare: func(context.Context, string) error {
				return fmt.Errorf("%s names %s; expected python and java", variable, name)
			}})
		}
	}
	return all
}

var goClients = language{
	name: "go",
	prepare: func(ctx context.Context, dir string) error {
		return errors.Join(
			localstack.Build(ctx, filepath.Join(dir, "gateway"), "examples/clients/go/gateway", "-ldflags=-s -w"),
			localstack.Build(ctx, filepath.Join(dir, "presence"), "examples/clients/go/presence", "-ldflags=-s -w"))
	},
	call: func(dir, program string) []string { return []string{filepath.Join(dir, program)} },
}

// nodeClients has its packages beside a copy of the programs, since Node looks for
// them there. npm has a cache of its own.
var nodeClients = language{
	name: "node",
	prepare: func(ctx context.Context, dir string) error {
		if err := copied(dir, "node", "*.js", "*.json"); err != nil {
			return err
		}
		return inFolder(ctx, dir, "npm (scripts/deps --tests) and its registry", "npm", "ci", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
	},
	call: func(dir, program string) []string { return []string{"node", filepath.Join(dir, program+".js")} },
}

// pythonClients has a virtual environment.
var pythonClients = language{
	name: "python",
	prepare: func(ctx context.Context, dir string) error {
		if err := copied(dir, "python", "*.py", "requirements.txt"); err != nil {
			return err
		}
		if err := inFolder(ctx, dir, "Python with venv (apt-get install python3-venv)", "python3", "-m", "venv", "env"); err != nil {
			return err
		}
		return inFolder(ctx, dir, "pip's package index", "env/bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt")
	},
	call: func(dir, program string) []string {
		return []string{filepath.Join(dir, "env/bin/python"), filepath.Join(dir, program+".py")}
	},
}

// javaClients runs the programs from their source files.
var javaClients = language{
	name: "java",
	prepare: func(ctx context.Context, dir string) error {
		if err := copied(dir, "java", "*.java", "pom.xml"); err != nil {
			return err
		}
		return inFolder(ctx, dir, "Maven (apt-get install maven) and Maven Central", "mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib")
	},
	call: func(dir, program string) []string {
		return []string{"java", "-cp", filepath.Join(dir, "lib/*"), filepath.Join(dir, strings.ToUpper(program[:1])+program[1:]+".java")}
	},
}

// copied copies a language's files.
func copied(dir, from string, patterns ...string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, pattern := range patterns {
		files, err := filepath.Glob(filepath.Join(from, pattern))
		if err != nil || len(files) == 0 {
			return fmt.Errorf("%s/%s: no such file: %w", from, pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), text, 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}

// inFolder runs a program in a folder. Where it fails the error says what it needs.
func inFolder(ctx context.Context, dir, needs, name string, args ...string) error {
	if strings.Contains(name, "/") {
		name = filepath.Join(dir, name)
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: it needs %s\n%s", strings.Join(cmd.Args, " "), err, needs, bytes.TrimSpace(text))
	}
	return nil
}

// password is that of all NATS users.
const password = "secret"

// stack is a nats-server with the accounts of deploy/nats, and their clients.
type stack struct {
	nats *localstack.NATS
	db   string // "" without a worker
	log  *text
}

// newStack starts the server alone.
func newStack(t *testing.T) *stack {
	t.Helper()
	build(t)
	s := &stack{log: &text{}}
	s.nats = localtest.NATS(t, localstack.NATSOptions{Configure: func(o *server.Options) {
		c := configuration(t)
		c.Host, c.Port, c.StoreDir, c.HTTPPort, c.NoSigs, c.SyncAlways = o.Host, o.Port, o.StoreDir, 0, true, false
		for _, a := range c.Accounts { // somebody who sees all and may do all
			if a.Name == "LETHE" || a.Name == "demo" {
				c.Users = append(c.Users, &server.User{Username: "all-" + a.Name, Password: password, Account: a})
			}
		}
		*o = *c
	}})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("worker:\n%s", s.log)
		}
	})
	return s
}

// passwords are those that the configuration takes from the environment.
var passwords = regexp.MustCompile(`\$NATS_\w+`)

// configuration is that of deploy/nats.
func configuration(t *testing.T) *server.Options {
	t.Helper()
	files, err := filepath.Glob("../../deploy/nats/*.conf")
	must(t, err)
	dir := t.TempDir()
	for _, file := range files {
		data, err := os.ReadFile(file)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, filepath.Base(file)), passwords.ReplaceAll(data, []byte(password)), 0o600))
	}
	options, err := server.ProcessConfigFile(filepath.Join(dir, "nats.conf"))
	must(t, err)
	return options
}

// setUp sets a database and the streams up, as the compose file does.
func (s *stack) setUp(t *testing.T) {
	t.Helper()
	s.db = localtest.Database(t)
	s.worker(t, "setup", "--sample-schema")
	s.worker(t, "setup-app", "--app", "demo")
}

// url is the server's address for a user.
func (s *stack) url(user string) string {
	return strings.Replace(s.nats.URL(), "nats://", "nats://"+user+":"+password+"@", 1)
}

// connect connects with all rights in an account.
func (s *stack) connect(t *testing.T, account string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(s.url("all-" + account))
	must(t, err)
	t.Cleanup(nc.Close)
	return nc
}

// worker calls the worker's program, as the user setup.
func (s *stack) worker(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(build(t), "worker"), args...)
	cmd.Env = append(os.Environ(), "DATABASE_URL="+s.db,
		"NATS_URL="+s.url("setup"), "LETHE_NATS_INBOX_PREFIX=_INBOX_setup",
		"LETHE_APP_NATS_URL="+s.url("setup-demo"), "LETHE_APP_NATS_INBOX_PREFIX=_INBOX_setup-demo")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("worker %v: %v\n%s", args, err, out)
	}
}

// startWorker runs a worker until the end of the test.
func (s *stack) startWorker(t *testing.T) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(build(t), "worker"), "run")
	cmd.Env = append(os.Environ(), "DATABASE_URL="+s.db, "NATS_URL="+s.url("worker"), "LETHE_NATS_INBOX_PREFIX=_INBOX_worker", "HTTP_ADDR=127.0.0.1:0")
	cmd.Stdout, cmd.Stderr = s.log, s.log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Wait() }) // after its context has ended
}

// client returns a call of a language's program with a user of the app.
func (s *stack) client(t *testing.T, l language, program string, args ...string) *exec.Cmd {
	t.Helper()
	call := append(l.call(filepath.Join(build(t), l.name), program), args...)
	cmd := exec.CommandContext(t.Context(), call[0], call[1:]...)
	cmd.Env = append(os.Environ(), "NATS_URL="+s.url(program+"-demo"), "NATS_INBOX_PREFIX=_INBOX_"+program+"-demo", "LC_ALL=C.UTF-8")
	return cmd
}

// gateway runs a gateway to its end and returns what it printed.
func (s *stack) gateway(t *testing.T, l language, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := s.client(t, l, "gateway", args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// delete has a gateway store a command.
func (s *stack) delete(t *testing.T, l language, args ...string) {
	t.Helper()
	out, errs, err := s.gateway(t, l, append([]string{"demo"}, args...)...)
	if err != nil || !strings.HasPrefix(out, "stored ") {
		t.Fatalf("gateway %v: %v, %q\n%s; want it stored", args, err, out, errs)
	}
}

// presence is a presence service that runs.
type presence struct {
	cmd    *exec.Cmd
	lines  chan string // what it prints
	stderr *text
	stop   func()
}

// presence starts one with two devices. It is stopped with the test.
func (s *stack) presence(t *testing.T, l language, user, cursor string) *presence {
	t.Helper()
	p := &presence{cmd: s.client(t, l, "presence", "demo", user, cursor, "phone", "laptop"), lines: make(chan string), stderr: &text{}}
	stdout, err := p.cmd.StdoutPipe()
	must(t, err)
	p.cmd.Stderr = p.stderr
	must(t, p.cmd.Start())
	end := make(chan struct{})
	go func() {
		defer close(p.lines)
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			select {
			case p.lines <- scanner.Text():
			case <-end:
			}
		}
	}()
	p.stop = sync.OnceFunc(func() {
		close(end)
		_ = p.cmd.Process.Kill()
		for range p.lines {
		}
		_ = p.cmd.Wait()
	})
	t.Cleanup(p.stop)
	return p
}

// next is the next line.
func (p *presence) next(t *testing.T) string {
	t.Helper()
	select {
	case line, ok := <-p.lines:
		if !ok {
			t.Fatalf("presence has ended:\n%s", p.stderr)
		}
		return line
	case <-time.After(timeout):
		t.Fatalf("presence prints nothing within %v\n%s", timeout, p.stderr)
	}
	return ""
}

// text collects what several write.
type text struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *text) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *text) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// exitCode is that of a program that has ended, -1 if it didn't run.
func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}
