package pages

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// runText runs a page of that text, in a folder with a page of its own.
func runText(t *testing.T, s Session, text string) error {
	t.Helper()
	page := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Dir = t.TempDir()
	return s.Run(t.Context(), page)
}

func TestAPageRunsInOneShell(t *testing.T) {
	t.Parallel()
	err := runText(t, Session{Instead: map[string]string{"there:1": "here:2", "there": "elsewhere"}, Env: []string{"A=b"}}, `
Look:

`+"```sh"+`
export WHERE=there:1
cd "$HOME" && mkdir sub && cd sub
`+"```"+`

1. Then
   `+"```sh"+`
   echo "$WHERE $A $PWD"
   printf 'one\ntwo  2026-11-30T01:02:03Z\n' >file.txt
   `+"```"+`
   `+"```text"+`
   there:1 b …/sub
   `+"```"+`
`+"```sh exit=3"+`
cat file.txt && echo gone >&2; (exit 3)
`+"```"+`
`+"```text"+`
one
…
gone
`+"```"+`
`+"```sh"+`
cp file.txt ..
`+"```"+`
`+"```txt file.txt"+`
one
two 2020-01-01T00:00:00.5Z
`+"```"+`
`+"```go"+`
for reading
`+"```\n```"+`
 a picture ──> b
`+"```\n"+`
`)
	if err != nil {
		t.Error(err)
	}
}

func TestWhatRunsBesideEndsWithThePage(t *testing.T) {
	t.Parallel()
	ended := filepath.Join(t.TempDir(), "ended")
	err := runText(t, Session{Env: []string{"ENDED=" + ended}}, "```sh beside\nmkfifo fifo; trap 'echo x >\"$ENDED\"; exit' TERM\necho up >fifo; while :; do read -t 1 <> <(:) || true; done\n```\n```sh\nuntil test -p fifo; do :; done; cat fifo\n```\n```text\nup\n```\n")
	if err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(ended); err != nil {
		t.Errorf("when the page had ended, what ran beside it had not: %v", err)
	}
}

func TestWhatIsWrongWithAPageIsFound(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		session    Session
		text, want string
	}{
		"a command fails":          {text: "\n```sh\ntrue\nfalse\ntrue\n```\n", want: "page.md:2: a command failed\nstatus 1 of: false"},
		"another status":           {text: "```sh exit=2\nfalse\n```\n", want: "status 1; want 2"},
		"success":                  {text: "```sh exit=2\ntrue\n```\n", want: "status 0; want 2"},
		"another output":           {text: "```sh\necho a\n```\n```text\nb\n```\n", want: `shows "b"`},
		"more output":              {text: "```sh\necho a; echo b\n```\n```text\na\n```\n", want: "or more is"},
		"less output":              {text: "```sh\necho a\n```\n```text\na\nb\n```\n", want: `shows "b"`},
		"no file":                  {text: "```yaml a.yaml\na\n```\n", want: "a.yaml: no such file"},
		"another file":             {text: "```sh\necho a >a.yaml\n```\n```yaml a.yaml\nb\n```\n", want: `a.yaml: the page shows "b"`},
		"output of nothing":        {text: "```text\nb\n```\n", want: "there is none"},
		"output not right after":   {text: "```sh\necho b\n```\n```go\n```\n```text\nb\n```\n", want: "there is none"},
		"a command not marked":     {text: "```\nworker run\n```\n", want: "mark it sh"},
		"a prompt":                 {text: "```\n$ ls\n```\n", want: "mark it sh"},
		"an unknown mark":          {text: "```sh later\n```\n", want: `unknown mark "later"`},
		"no end":                   {text: "```sh\n", want: "no end"},
		"nothing that is not run":  {Session{NotRun: map[string]string{"kubectl": "no cluster"}}, "```sh\n```\n", `begins with "kubectl"`},
		"not run without a reason": {Session{NotRun: map[string]string{"kubectl": ""}}, "```sh\nkubectl\n```\n", "no reason"},
		"too long":                 {Session{Timeout: 50 * time.Millisecond}, "```sh\nread <><(:)\n```\n", "not done after 50ms"},
		"beside it":                {text: "```sh beside\necho up >file; echo look\n```\n```sh\nuntil test -s file; do :; done; false\n```\n", want: "beside it: <nil>\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := runText(t, c.session, c.text); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Run = %v; want %q in it", err, c.want)
			}
		})
	}
}

func TestWhatIsNotRunIsNot(t *testing.T) {
	t.Parallel()
	if err := runText(t, Session{NotRun: map[string]string{"false": "it fails"}}, "```sh\nfalse\n```\n```text\n```\n```sh\ntrue\n```\n"); err != nil {
		t.Error(err)
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		shown, text string
		want        bool
	}{
		{"a", "\na\n", true},
		{"a  b", "a b", true},
		{"a 1", "a 2", false},
		{"…", "", true},
		{"…\nb\n…\nd", "a\nb\nc\nb\nd", true},
		{"…\nb\n…\nd", "a\nb\nc\nd\ne", false},
		{"a … c", "a b c", true},
		{"a … c", "a b d", false},
		{"took 1.5 ms (a.b)", "took 2s (a.b)", true},
		{"took 1.5 ms (a.b)", "took 2s (acb)", false},
		{"id 0123abcd-0000-4000-8000-0123456789ab", "id ffffffff-ffff-4fff-8fff-ffffffffffff", true},
		{"at 2026-01-02 03:04:05+00", "at 2026-02-02T03:04:05.6Z", true},
	} {
		if err := Match(c.shown, c.text); (err == nil) != c.want {
			t.Errorf("Match(%q, %q) = %v", c.shown, c.text, err)
		}
	}
}
