package localstack

import (
	"fmt"
	"io"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// childVariable makes the test binary start both servers, say what it started, and
// wait to be killed.
const childVariable = "LETHE_LOCALSTACK_TEST_CHILD"

func TestMain(m *testing.M) {
	ServeNATSNode()
	if os.Getenv(childVariable) != "" {
		if err := startAndWait(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// startAndWait is the child's whole life: it ends when its input does, without
// closing anything.
func startAndWait() error {
	n, err := StartNATS(NATSOptions{})
	if err != nil {
		return err
	}
	ctx, cancel := testContext()
	defer cancel()
	p, err := StartPostgres(ctx, PostgresOptions{})
	if err != nil {
		return err
	}
	fmt.Printf("%s\n%s\n", n.opts.StoreDir, p.cluster.folder.path)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
