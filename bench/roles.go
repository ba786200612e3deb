package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/lethe-im/lethe/internal/localstack"
)

// Roles of this program other than the bench itself, each in a process of its
// own, so that what it uses can be told apart.
const (
	roleVariable = "LETHE_BENCH_ROLE"
	roleNATS     = "nats"      // a nats-server
	roleNATSSync = "nats-sync" // one that syncs each write
	rolePlain    = "plain"     // the plain worker
	roleChat     = "chat"      // the people of S5
)

// errNoRole says that this process is the bench itself.
var errNoRole = errors.New("no role")

// roleOf is the environment that gives a process a role.
func roleOf(role string, sync bool) []string {
	if role == roleNATS && sync {
		role = roleNATSSync
	}
	return []string{roleVariable + "=" + role}
}

// playRole plays the role that the environment names, until ctx ends.
func playRole(ctx context.Context, stdout io.Writer) error {
	switch role := os.Getenv(roleVariable); role {
	case "":
		return errNoRole
	case roleNATS, roleNATSSync:
		return serveNATS(ctx, stdout, role == roleNATSSync)
	case rolePlain:
		return runPlain(ctx, stdout)
	case roleChat:
		return runChat(ctx, stdout)
	default:
		return fmt.Errorf("%s is %q, which is none", roleVariable, role)
	}
}

// serveNATS is a nats-server with its streams in files.
func serveNATS(ctx context.Context, stdout io.Writer, sync bool) error {
	server, err := localstack.StartNATS(localstack.NATSOptions{SyncAlways: sync}) //nolint:contextcheck // its start is bounded by StartNATS
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(stdout, readyWord+server.URL()); err != nil {
		return errors.Join(err, server.Close())
	}
	<-ctx.Done()
	return server.Close()
}
