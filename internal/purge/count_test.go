package purge

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestCount(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]string{
		"0 messages":      Count(0, "message"),
		"1 message":       Count(1, "message"),
		"2 messages":      Count(2, "message"),
		"1,000 messages":  Count(1000, "message"),
		"-1,000 messages": Count(-1000, "message"),
		"1 try":           Count(1, "try", "tries"),
		"1,234,567 tries": Count(int64(1234567), "try", "tries"),
	} {
		if got != want {
			t.Errorf("Count = %q; want %q", got, want)
		}
	}
}

// plural is a number before a word that is wrong where the number is 1.
var plural = regexp.MustCompile(`%[dv] (?:[a-z]+ )?([a-z]{3,}s)\b`)

// singular are words that end in s and are right after any number, and sizes, which
// are never 1 there.
var singular = regexp.MustCompile(`^(bytes|bits|was|has|this|belongs|stays|stands|begins|ends|less|microseconds)$`)

// No message of the worker's program says "1 commands".
func TestNumbersAreCounted(t *testing.T) {
	t.Parallel()
	root, seen := "../..", 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != root || d.Name() == "bench" || d.Name() == "demo" || d.Name() == "localtest"):
			return fs.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		seen++
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, text, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				for _, m := range plural.FindAllStringSubmatch(lit.Value, -1) {
					if !singular.MatchString(m[1]) {
						t.Errorf("%s: %s: use purge.Count for %q", path, lit.Value, m[0])
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil || seen < 100 {
		t.Errorf("looked at %d files, %v", seen, err)
	}
}
