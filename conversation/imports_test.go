package conversation_test

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestPackagePullsInNothingButNATS(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{".", "../internal/natserr"} {
		wantImports(t, dir, "github.com/nats-io/nats.go", "github.com/nats-io/nats.go/jetstream", "github.com/lethe-im/lethe/internal/natserr")
	}
}

// wantImports allows a package to import these of other modules alone.
func wantImports(t *testing.T, dir string, allowed ...string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), ".go") || strings.HasSuffix(file.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, file.Name()), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range parsed.Imports {
			path, _ := strconv.Unquote(spec.Path.Value)
			root, _, _ := strings.Cut(path, "/")
			if strings.Contains(root, ".") && !slices.Contains(allowed, path) {
				t.Errorf("%s imports %s", file.Name(), path)
			}
		}
	}
}
