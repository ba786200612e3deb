package telemetry

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// sources are the files of the packages that count.
func sources(t *testing.T) map[string]*ast.File {
	t.Helper()
	files, set := map[string]*ast.File{}, token.NewFileSet()
	for _, root := range []string{"../broker", "../handler", "../purge", "../repo", "../bus", "../tracing", "../../cmd/worker"} {
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files[path], err = parser.ParseFile(set, path, nil, 0)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// literals are all words that stand in quotes there.
func literals(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, file := range sources(t) {
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if s, err := strconv.Unquote(lit.Value); err == nil {
					found[s] = true
				}
			}
			return true
		})
	}
	return found
}

// A word that the code no longer has would leave a series at zero for ever, and
// the alerts that ask for it silent.
func TestEveryKnownWordIsOneThatTheCodeHas(t *testing.T) {
	t.Parallel()
	have := literals(t)
	for _, word := range slices.Concat(lanes, outcomes, states, spans, refusals, pauses, retries) {
		if !have[word] {
			t.Errorf("%q is a label's value, and no code has it", word)
		}
	}
}

// counted are the words that functions of the code are called with, and that
// become causes.
func counted(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	word, constants := regexp.MustCompile(`^[a-z][a-z_]*$`), regexp.MustCompile(`^(cause|Cause|Retry)[A-Z]`)
	note := func(path string, e ast.Expr) {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if s, err := strconv.Unquote(lit.Value); err == nil && word.MatchString(s) {
				found[s] = path
			}
		}
	}
	for path, file := range sources(t) {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.SelectorExpr); ok && len(n.Args) > 0 && slices.Contains([]string{"WithLabelValues", "Pause", "Close"}, f.Sel.Name) {
					note(path, n.Args[0])
				}
			case *ast.ValueSpec:
				if constants.MatchString(n.Names[0].Name) && len(n.Values) > 0 {
					note(path, n.Values[0])
				}
			case *ast.ReturnStmt:
				if filepath.Base(path) == "fault.go" && len(n.Results) == 2 { // a fault and its cause
					note(path, n.Results[1])
				}
			}
			return true
		})
	}
	return found
}

// A word that isn't known has its first event hidden from every rate.
func TestEveryCauseInTheCodeIsAKnownWord(t *testing.T) {
	t.Parallel()
	known := slices.Concat(lanes, outcomes, states, spans, refusals, pauses, retries, []string{"stopping", "waiting", "in_flight", "stuck"})
	found := counted(t)
	for word, path := range found {
		if !slices.Contains(known, word) {
			t.Errorf("%s counts %q, which words.go doesn't have", path, word)
		}
	}
	if len(found) < 25 {
		t.Errorf("only %d words are found in the code: %v", len(found), found)
	}
}
