package api_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheREADMEsGoIsThatOfThePrograms finds each block of Go on the first page in the programs of examples/clients, which
// are compiled and run.
func TestTheREADMEsGoIsThatOfThePrograms(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../examples/clients/go/*/main.go")
	if err != nil || len(files) != 2 {
		t.Fatalf("programs: %q, %v; want two", files, err)
	}
	var programs string
	for _, file := range files {
		programs += unindented(t, file)
	}
	blocks := strings.Split(unindented(t, "../README.md"), "\n```go\n")[1:]
	for _, block := range blocks {
		block, _, _ = strings.Cut(block, "\n```\n")
		if !strings.Contains(programs, "\n"+block+"\n") {
			t.Errorf("none of %q has this block of README.md:\n%s", files, block)
		}
	}
	if len(blocks) < 2 {
		t.Errorf("README.md has %d blocks of Go; want a gateway's and a presence service's", len(blocks))
	}
}

// unindented is a file's text without white space around the lines.
func unindented(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(data), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "\n")
}
