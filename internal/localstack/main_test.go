package localstack

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// childVariable makes the test binary start both servers, say what it started, and
// wait to be killed.
const childVariable = "LETHE_LOCALSTACK_TEST_CHILD"

// deafVariable makes the test binary a server that ignores SIGQUIT until there is a
// file of this name, and ends with the next one.
const deafVariable = "LETHE_LOCALSTACK_TEST_DEAF"

func TestMain(m *testing.M) {
	ServeNATSNode()
	if os.Getenv(childVariable) != "" {
		if err := startAndWait(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if name := os.Getenv(deafVariable); name != "" {
		deaf(name)
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// deaf is that server's whole life.
func deaf(name string) {
	signal.Ignore(syscall.SIGQUIT)
	fmt.Println("ignoring")
	for _, err := os.Stat(name); err != nil; _, err = os.Stat(name) {
		<-time.After(10 * time.Millisecond)
	}
	quit := make(chan os.Signal, 1)
	signal.Notify(quit, syscall.SIGQUIT)
	<-quit
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
