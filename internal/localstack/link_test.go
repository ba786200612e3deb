package localstack

import (
	"os/exec"
	"strings"
	"testing"
)

func TestWorkerNeverLinksTheLocalStack(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-buildvcs=false", "-deps", "github.com/lethe-im/lethe/cmd/worker").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	linked := strings.Fields(string(out))
	if len(linked) < 10 {
		t.Fatalf("go list = %q; want the worker's packages", linked)
	}
	for _, path := range linked {
		if strings.Contains(path, "/internal/localstack") || strings.HasPrefix(path, "github.com/nats-io/nats-server") || path == "testing" {
			t.Errorf("cmd/worker links %s", path)
		}
	}
}
