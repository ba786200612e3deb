package check

import (
	"os"
	"path/filepath"
	"testing"

	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
)

// As `helm lint --strict` does.
func TestTheLinterHasNothingAgainstTheChart(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(folder + "/ci/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files of values, %v", len(files), err)
	}
	for _, file := range append(files, os.DevNull) { // which is no values
		for _, m := range lint.RunAll(folder, valuesOf(t, file), "lethe").Messages {
			if m.Severity > support.InfoSev { // a missing icon
				t.Errorf("%s: %v", file, m)
			}
		}
	}
}

func TestTheLinterRefuses(t *testing.T) {
	t.Parallel()
	if worst := lint.RunAll(folder, object{"replicas": 3}, "lethe").HighestSeverity; worst < support.ErrorSev {
		t.Errorf("a value that the chart doesn't know: severity %d; want an error", worst)
	}
}
