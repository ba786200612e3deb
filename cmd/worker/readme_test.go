package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// settingsTable is README's table of the settings of `worker run`.
func settingsTable(t *testing.T) string {
	t.Helper()
	p, err := newParser(unset, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	kctx, err := kong.Trace(p.kong, []string{"run"})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("| flag | variable | default | |\n| --- | --- | --- | --- |\n")
	for _, f := range kctx.Selected().Flags {
		standard := ""
		if f.HasDefault {
			standard = "`" + f.Default + "`"
		}
		fmt.Fprintf(&b, "| `--%s` | `%s` | %s | %s |\n", f.Name, f.Envs[0], standard, f.Help)
	}
	return b.String()
}

func TestREADMEListsEverySetting(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if table := settingsTable(t); !strings.Contains(string(readme), table) {
		t.Errorf("README.md doesn't have this table:\n%s", table)
	}
}
