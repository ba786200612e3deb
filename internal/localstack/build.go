package localstack

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
)

// module is the worker's module, which all other modules of this repository replace by its folder.
const module = "github.com/lethe-im/lethe"

// BuildCommand returns the command that builds a program of this repository, such as cmd/worker, into the file out. It works
// from the folder of each of the repository's modules. out must be an absolute path; flags are those of go build.
func BuildCommand(ctx context.Context, out, folder string, flags ...string) (*exec.Cmd, error) {
	list := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module)
	root, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("find the sources of %s, from a folder outside of them? %w", module, err)
	}
	args := []string{"build", "-C", filepath.Join(string(bytes.TrimSpace(root)), folder), "-buildvcs=false", "-o", out}
	return exec.CommandContext(ctx, "go", append(append(args, flags...), ".")...), nil
}

// Build runs BuildCommand.
func Build(ctx context.Context, out, folder string, flags ...string) error {
	cmd, err := BuildCommand(ctx, out, folder, flags...)
	if err != nil {
		return err
	}
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", folder, err, bytes.TrimSpace(text))
	}
	return nil
}
