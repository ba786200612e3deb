package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// settingsPage is the page of all settings of `worker run` and `worker setup`. Flags,
// variables, defaults, ranges and help are the program's; what comes after them in each
// entry, the reason to change the setting, is written by hand.
const settingsPage = "../../docs/settings.md"

var update = flag.Bool("update", false, "rewrite docs/settings.md and the table of docs/metrics.md")

// flagsOf are a subcommand's flags, in the order of its help.
func flagsOf(t *testing.T, subcommand string) []*kong.Flag {
	t.Helper()
	p, err := newParser(unset, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	kctx, err := kong.Trace(p.kong, []string{subcommand})
	if err != nil {
		t.Fatal(err)
	}
	return kctx.Selected().Flags
}

// entry is what a flag's entry begins with.
func entry(f *kong.Flag) string {
	var facts []string
	for _, name := range f.Envs {
		facts = append(facts, "`"+name+"`")
	}
	if f.HasDefault && f.Default != "" && !f.IsBool() {
		facts = append(facts, "default `"+f.Default+"`")
	}
	if text := rangeOf(f); text != "" {
		facts = append(facts, text)
	}
	text := fmt.Sprintf("### `--%s`\n\n", f.Name)
	if len(facts) > 0 {
		text += strings.Join(facts, " · ") + "\n\n"
	}
	return text + wrapped(f.Help, 120)
}

// wrapped breaks text into lines.
func wrapped(text string, width int) string {
	var b strings.Builder
	column := 0
	for _, word := range strings.Fields(text) {
		switch {
		case column > 0 && column+1+len(word) > width:
			b.WriteString("\n")
			column = 0
		case column > 0:
			b.WriteString(" ")
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}

// reasons are the hand-written parts of a page, by heading: what comes after an entry's
// beginning, and what stands between other headings.
func reasons(page string) map[string]string {
	found := map[string]string{}
	for part := range strings.SplitSeq("\n"+page, "\n#") {
		name, text, _ := strings.Cut(part, "\n")
		if paragraphs := strings.Split(strings.TrimSpace(text), "\n\n"); strings.HasPrefix(name, "## `--") {
			begins := 1 // the help, or variable and facts before it
			if regexp.MustCompile("^(`[A-Z_]+`|default|[0-9])").MatchString(paragraphs[0]) {
				begins = 2
			}
			text = strings.Join(paragraphs[min(begins, len(paragraphs)):], "\n\n")
		}
		found[name] = strings.TrimSpace(text)
	}
	return found
}

func TestTheSettingsPageIsTheProgramsOwn(t *testing.T) {
	t.Parallel()
	page := readFile(t, settingsPage)
	by := reasons(page)
	var b strings.Builder
	fmt.Fprintf(&b, "# Settings\n\n%s\n", by[" Settings"])
	section := func(name string, flags []*kong.Flag) {
		fmt.Fprintf(&b, "\n## %s\n", name)
		if about := by["# "+name]; about != "" {
			fmt.Fprintf(&b, "\n%s\n", about)
		}
		for _, f := range flags {
			reason := by["## `--"+f.Name+"`"]
			if len(reason) < 20 {
				t.Errorf("--%s has no reason to change it; write one below its entry", f.Name)
			}
			fmt.Fprintf(&b, "\n%s\n", strings.TrimSpace(entry(f)+"\n\n"+reason))
		}
	}
	run := flagsOf(t, "run")
	var groups []string
	grouped := map[string][]*kong.Flag{}
	for _, f := range run {
		name := strings.TrimSuffix(f.Group.Title, ":")
		if !slices.Contains(groups, name) {
			groups = append(groups, name)
		}
		grouped[name] = append(grouped[name], f)
	}
	for _, name := range groups {
		section(name, grouped[name])
	}
	section("worker setup", slices.DeleteFunc(flagsOf(t, "setup"), func(f *kong.Flag) bool {
		return slices.ContainsFunc(run, func(r *kong.Flag) bool { return r.Name == f.Name }) // --plan: the same file
	}))
	if b.String() == page {
		return
	}
	if *update {
		if err := os.WriteFile(settingsPage, []byte(b.String()), 0o644); err != nil { //nolint:gosec // a page for everybody
			t.Fatal(err)
		}
		return
	}
	for i, line := range strings.Split(b.String(), "\n") {
		if got := strings.Split(page, "\n"); i >= len(got) || got[i] != line {
			t.Fatalf("docs/settings.md, line %d isn't %q; run: go test ./cmd/worker -run '^%s$' -update", i+1, line, t.Name())
		}
	}
	t.Fatalf("docs/settings.md has more than the program's settings; run: go test ./cmd/worker -run '^%s$' -update", t.Name())
}

// About 26 settings are enough: one more takes a reason that none of them covers.
func TestRunHasFewSettings(t *testing.T) {
	t.Parallel()
	if n := len(flagsOf(t, "run")); n > 28 {
		t.Errorf("worker run has %d settings; want at most 28", n)
	}
}
