package main

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

func unset(string) string { return "" }

func vars(m map[string]string) func(string) string {
	return func(name string) string { return m[name] }
}

// minimal is what `worker run` can't do without.
var minimal = map[string]string{"DATABASE_URL": "postgres://localhost/app"}

func parseRun(t *testing.T, getenv func(string) string, args ...string) config {
	t.Helper()
	cmd, err := parse(append([]string{"run"}, args...), getenv, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	return cmd.(*runCommand).config
}

func TestEverySettingHasAVariableOfTheContract(t *testing.T) {
	t.Parallel()
	p, err := newParser(unset, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	err = kong.Visit(p.kong.Model.Node, func(v kong.Visitable, next kong.Next) error {
		f, ok := v.(*kong.Flag)
		if !ok {
			return next(nil)
		}
		seen++
		var want []string
		switch f.Name {
		case "nats-url", "database-url", "http-addr", "log-level", "log-format":
			want = []string{strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))}
		case "help", "version", "conversation", "through-seq", "keep-history", "command-id", "all", "reason", "raw", "multi-client-sync", "lane", "since", "dry-run", "check", "yes", "page", "once":
			// what one call is about, not a setting
		case "app":
			if !strings.Contains(f.Help, "Only those") && !strings.Contains(f.Help, "Replay only") { // what one call is about
				want = []string{"LETHE_APP"}
			}
		default:
			want = []string{"LETHE_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))}
		}
		if !slices.Equal(f.Envs, want) {
			t.Errorf("--%s has the variables %q; want %q", f.Name, f.Envs, want)
		}
		if f.Help == "" {
			t.Errorf("--%s has no help", f.Name)
		}
		return next(nil)
	})
	if err != nil || seen < 50 {
		t.Errorf("visited %d flags, %v", seen, err)
	}
}

func TestHelpNamesEachVariableAndDefault(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"run"},
		{"setup"},
		{"send"},
		{"status"},
		{"settings", "get"},
		{"settings", "set"},
		{"plan", "check"},
		{"plan", "draft"},
		{"plan", "try"},
		{"dead-letters", "list"},
		{"dead-letters", "show"},
		{"dead-letters", "retry"},
		{"dead-letters", "drop"},
	} {
		o := execute(unset, append(args, "--help")...).mustSucceed(t)
		help := strings.Join(strings.Fields(o.stdout), " ")
		p, err := newParser(unset, &bytes.Buffer{})
		if err != nil {
			t.Fatal(err)
		}
		kctx, err := kong.Trace(p.kong, args)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range kctx.Selected().Flags {
			if !strings.Contains(help, "--"+f.Name) {
				t.Errorf("worker %q --help doesn't list --%s", args, f.Name)
			}
			if len(f.Envs) > 0 && !strings.Contains(help, "[$"+f.Envs[0]+"]") {
				t.Errorf("worker %q --help doesn't name %s", args, f.Envs[0])
			}
			if f.HasDefault && !strings.Contains(help, "Default "+f.Default+".") {
				t.Errorf("worker %q --help doesn't tell the default %s of --%s", args, f.Default, f.Name)
			}
		}
	}
}

func TestDefaultsAreThoseOfTheContract(t *testing.T) {
	t.Parallel()
	c := parseRun(t, vars(minimal))
	for _, d := range []struct {
		name      string
		got, want any
	}{
		{"NATS_URL", c.NATSURL, "nats://127.0.0.1:4222"},
		{"HTTP_ADDR", c.HTTPAddr, ":8080"},
		{"LOG_LEVEL", c.LogLevel, "info"},
		{"LOG_FORMAT", c.LogFormat, "text"},
		{"target", c.Target, 50 * time.Millisecond},
		{"max-attempts", c.MaxAttempts, 10},
		{"max-connections", c.MaxConns, 16},
		{"ledger-retention", c.LedgerRetention, 720 * time.Hour},
		{"setup", c.Setup, false},
	} {
		if d.got != d.want {
			t.Errorf("default of %s = %v; want %v", d.name, d.got, d.want)
		}
	}
}

func TestAFlagWinsOverItsVariableAndThatOverTheDefault(t *testing.T) {
	t.Parallel()
	env := map[string]string{
		"DATABASE_URL": "postgres://localhost/app", "LETHE_TARGET": "20ms", "LETHE_EXPRESS_ROWS": "7000",
		"LETHE_SETUP": "true", "LETHE_ALLOW_UNINDEXED": "yes", "LETHE_MAX_WAL_RETAINED": "2GiB", "LETHE_MAX_CONNECTIONS": "",
	}
	c := parseRun(t, vars(env), "--target=30ms", "--allow-unindexed=false")
	want := []any{30 * time.Millisecond, 7000, true, false, byteSize(2 << 30), 16}
	got := []any{c.Target, c.ExpressRows, c.Setup, c.AllowUnindexed, c.MaxWALRetained, c.MaxConns}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("settings = %v; want %v", got, want)
	}
}

func TestAllProblemsAreToldAtOnce(t *testing.T) {
	t.Parallel()
	plan := planFile(t, "messages: {table: m}\n")
	env := map[string]string{"LETHE_MAX_ATTEMPTS": "many", "LETHE_SETUP": "perhaps", "LOG_LEVEL": "loud", "HTTP_ADDR": "8080"}
	o := execute(vars(env), "run", "--target", "50", "--express-rows", "0", "--max-connections=2", "--max-lock-wait", "1us", "--foreground-backoff=often", "--plan", plan,
		"--nats-url", "http://x", "--nats-creds", "/nowhere", "--nats-tls-cert", plan, "--max-wal-retained", "1x")
	o.mustFail(t, exitUsage)
	for _, want := range []string{
		`--max-attempts (LETHE_MAX_ATTEMPTS): "many" is not a whole number: expected digits, such as 10`,
		`--setup (LETHE_SETUP): "perhaps" is not a switch: expected true or false`,
		`--log-level (LOG_LEVEL): "loud" is not known: expected debug, info, warn, error`,
		`--http-addr (HTTP_ADDR): "8080" is not an address: expected host:port or :port`,
		`--target (LETHE_TARGET): "50" is not a duration: expected a number with a unit, such as 50ms, 30s or 720h`,
		`--express-rows (LETHE_EXPRESS_ROWS): 0 is out of range: expected 1 to 1000000`,
		`--max-connections (LETHE_MAX_CONNECTIONS): 2 is out of range: expected 3 to 1000`,
		`--max-lock-wait (LETHE_MAX_LOCK_WAIT): 1µs is out of range: expected 1ms to 24h, or 0 for off`,
		`--plan (LETHE_PLAN): plan: line 1: messages.seq is missing`,
		`--plan (LETHE_PLAN): plan: line 1: messages.user is missing`,
		`--nats-url (NATS_URL): has no known scheme: expected nats://host:4222`,
		`--nats-creds (LETHE_NATS_CREDS): open /nowhere: no such file or directory: expected a file that can be read`,
		`--nats-tls-key (LETHE_NATS_TLS_KEY): is missing: expected the key of --nats-tls-cert`,
		`--foreground-backoff (LETHE_FOREGROUND_BACKOFF): "often" is not a number: expected digits`,
		`--max-wal-retained (LETHE_MAX_WAL_RETAINED): "1x" is not a size: expected bytes`,
		`--database-url (DATABASE_URL): is missing: expected postgres://`,
	} {
		n := 0
		for line := range strings.Lines(o.stderr) {
			if strings.HasPrefix(line, "worker run: "+want) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d lines with %q; want 1 in:\n%s", n, want, o.stderr)
		}
	}
	if n := strings.Count(o.stderr, "target"); n != 1 {
		t.Errorf("--target is named in %d lines; want 1 in:\n%s", n, o.stderr)
	}
}

func TestWrongUsageNamesTheSubcommandAndItsHelp(t *testing.T) {
	t.Parallel()
	for line, args := range map[string][]string{
		"worker send: missing flags: --app=APP, --user=USER; see `worker send --help`":                                   {"send"},
		"worker send: no conversations given: expected --conversation or --all-conversations; see `worker send --help`":  {"send", "--app", "a", "--user", "u"},
		"worker dead-letters list: unknown flag --nonsense; see `worker dead-letters list --help`":                       {"dead-letters", "list", "--nonsense"},
		"worker dead-letters: expected one of \"list\", \"show\", \"retry\", \"drop\"; see `worker dead-letters --help`": {"dead-letters"},
		"worker: unexpected argument sned, did you mean \"send\"?; see `worker --help`":                                  {"sned"},
		"worker pause: --lane: \"fast\" is not known: expected all, long; see `worker pause --help`":                     {"pause", "--lane", "fast", "--database-url", "postgres://localhost/x"},
		"worker run: OTEL_EXPORTER_OTLP_PROTOCOL: ":                                                                      {"run", "--database-url", "postgres://localhost/x"},
	} {
		getenv := vars(map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
		if o := execute(getenv, args...).mustFail(t, exitUsage); !strings.HasPrefix(o.stderr, line) {
			t.Errorf("worker %q printed %q; want %q", args, o.stderr, line)
		}
	}
}

func TestWhoHasALogIsKnown(t *testing.T) {
	t.Parallel()
	p, err := newParser(unset, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, leaf := range p.kong.Model.Leaves(false) {
		if slices.ContainsFunc(leaf.Flags, func(f *kong.Flag) bool { return f.Name == "log-format" }) {
			found = append(found, leaf.Name)
		}
	}
	slices.Sort(found)
	if want := slices.Sorted(slices.Values(withLog)); !slices.Equal(found, want) {
		t.Errorf("--log-format is a flag of %q; withLog has %q", found, want)
	}
	for _, c := range []struct {
		args []string
		env  string
		want bool
	}{
		{[]string{"run", "--log-format", "json"}, "", true},
		{[]string{"run", "--log-format=json"}, "text", true},
		{[]string{"run", "--log-format=text"}, "json", false},
		{[]string{"run"}, "json", true},
		{[]string{"run", "--log-format"}, "", false},
		{[]string{"send"}, "json", false},
		{nil, "json", false},
	} {
		if got := logsJSON(c.args, vars(map[string]string{"LOG_FORMAT": c.env})); got != c.want {
			t.Errorf("logsJSON(%q) with LOG_FORMAT=%s = %t; want %t", c.args, c.env, got, c.want)
		}
	}
}

func TestWrongUsageEndsWithTwoAndOneLine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "expected one of"},
		{[]string{"dance"}, "unexpected argument dance"},
		{[]string{"run", "--fast"}, "unknown flag --fast"},
		{[]string{"send", "--app", "a"}, "missing flags: --user=USER"},
		{[]string{"send", "--app", "a", "--user", "u"}, "no conversations given: expected --conversation or --all-conversations"},
		{[]string{"send", "--app", "a", "--user", "u", "--conversation", "c", "--all-conversations"}, "--conversation and --all-conversations are mutually exclusive"},
		{[]string{"send", "--app", "a", "--user", "u", "--everyone", "--all-conversations"}, "--everyone and --all-conversations are mutually exclusive"},
		{[]string{"send", "--app", "a", "--user", "u", "--conversation", "c", "--everyone", "--keep-history"}, "--everyone and --keep-history are mutually exclusive"},
		{[]string{"send", "--app", "a", "--user", "u", "--conversation", "c", "--keep-conversation", "--keep-history"}, "--keep-conversation and --keep-history are mutually exclusive"},
		{[]string{"send", "--app", "a", "--user", "u", "--conversation", ""}, "--conversation: conversations[0].id"},
		{[]string{"send", "--app", "a", "--user", "u", "--conversation", "c", "--through-seq", "x"}, `--through-seq: "x" is not a seq`},
		{[]string{"send", "--app", "a", "--user", "u", "--through-seq", "4", "--conversation", "c"}, "4 belongs to no conversation"},
		{[]string{"send", "--app", "a", "--user", "u", "--conversation", "c", "--through-seq=1", "--through-seq=2"}, "2 is the second for"},
		{[]string{"dead-letters", "list", "--app", strings.Repeat("a", 65)}, "app_id"},
		{[]string{"setup", "--database-url", "postgres://h/d", "--commands-max-per-app=-1"}, "--commands-max-per-app (LETHE_COMMANDS_MAX_PER_APP): -1 is out of range: expected 1 or more, or 0 for no limit"},
		{[]string{"setup", "--check", "--dead-letters-max-bytes", "4MiB"}, "--dead-letters-max-bytes (LETHE_DEAD_LETTERS_MAX_BYTES): 4MiB is out of range: expected 8MiB or more"},
		{[]string{"setup", "--check", "--events-max-bytes", "0"}, "--events-max-bytes (LETHE_EVENTS_MAX_BYTES): 0B is out of range: expected 8MiB or more"},
		{[]string{"run", "--sample-schema"}, "unknown flag --sample-schema"},
		{[]string{"dead-letters", "drop"}, "no letters given: expected SEQ…, --all, --reason or --app"},
		{[]string{"dead-letters", "drop", "1", "--all"}, "SEQ… and --all, --reason or --app are mutually exclusive"},
		{[]string{"dead-letters", "show", "x"}, "<seq>"},
		{[]string{"dead-letters", "show", "1", "--raw", "--json"}, "--raw and --json are mutually exclusive"},
		{[]string{"settings", "set", "--app", "a", "--database-url", "postgres://h/d"}, "missing flags: --multi-client-sync"},
		{[]string{"settings", "get", "--app", strings.Repeat("a", 65), "--database-url", "postgres://h/d"}, "--app (LETHE_APP): app_id"},
	} {
		o := execute(unset, c.args...).mustFail(t, exitUsage, c.want)
		if strings.Count(o.stderr, "\n") != 1 || o.stdout != "" {
			t.Errorf("worker %q printed %q and %q; want one line on stderr", c.args, o.stdout, o.stderr)
		}
	}
}

func TestSecretsAreNeverPrinted(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	for _, name := range []string{"NATS_URL", "DATABASE_URL"} {
		for _, url := range []string{
			"postgres://u:hunter2@h:port/db", "postgres://u:hunter2@127.0.0.1:1/db?sslmode=maybe", "postgres://u:hunt%er2hunter2@h/db",
			"http://u:hunter2@127.0.0.1:1", "nats://u:hunter2@[::1", "nats://u:hunter2@127.0.0.1:1", "u:hunter2@127.0.0.1:1", "host=127.0.0.1 password=hunter2 port=x",
			"postgres://u:hunter2@127.0.0.1:1/db?connect_timeout=1",
		} {
			env := map[string]string{"DATABASE_URL": "postgres://127.0.0.1:1/db", "NATS_URL": "nats://127.0.0.1:1", "HTTP_ADDR": "nowhere:http:x"}
			env[name] = url
			for _, args := range [][]string{
				{"run"},
				{"settings", "get", "--app", "a"},
				{"send", "--app", "a", "--user", "u", "--conversation", "c"},
				{"dead-letters", "list", "--timeout", "10ms"},
			} {
				if o := execute(vars(env), args...); o.code == exitOK || strings.Contains(o.stdout+o.stderr, secret) {
					t.Errorf("%s=%s worker %q = %d, and printed %q", name, url, args, o.code, o.stdout+o.stderr)
				}
			}
		}
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]byteSize{"0": 0, "17": 17, "8B": 8, "1kB": 1000, "64MiB": 64 << 20, "10GB": 10e9, "1 tib": 1 << 40} {
		if got, err := parseSize(text); got != want || err != nil {
			t.Errorf("parseSize(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "x", "-1", "1.5GB", "GB", "1PB", "9999999TiB", "99999999999999999999"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("parseSize(%q) = %d; want an error", text, got)
		}
	}
	for size, want := range map[byteSize]string{0: "0B", 17: "17B", 8 << 20: "8MiB", 3 << 29: "1536MiB", 1e9: "1000000000B", 1 << 40: "1TiB"} {
		if got := size.String(); got != want {
			t.Errorf("%d is shown as %s; want %s", size, got, want)
		}
	}
}
