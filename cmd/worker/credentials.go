package main

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/purge"
)

// credentials are whose a command for people is called with, by its first word, and
// how: the roles and users are those of deploy/.
var credentials = map[string]string{
	"send":         byOperator,
	"status":       byOperator,
	"pause":        byOperator,
	"resume":       byOperator,
	"settings":     byOperator,
	"dead-letters": byOperator,
	"replay": "a replay has the worker's Postgres role and the operator's NATS user (lethe_worker and operator in deploy/; " +
		"docker compose run --rm replay …, deploy/kubernetes/operator …)",
}

const byOperator = "call it with the operator's credentials (Postgres role lethe_operator and NATS user operator in deploy/; " +
	"docker compose run --rm operator …, deploy/kubernetes/operator …)"

// adviseCredentials puts before a refusal of the servers with whose credentials the
// command is to be called: what the refusal itself advises would widen the rights of
// whoever has called it.
func adviseCredentials(args []string, err error) error {
	if err == nil || len(args) == 0 || credentials[args[0]] == "" || !refused(err) {
		return err
	}
	return fmt.Errorf("not permitted: %s: %w", credentials[args[0]], err)
}

// refused says that a server has refused an operation to this user or role.
func refused(err error) bool {
	_, cause := purge.FaultOf(err)
	var marked *purge.FaultError
	return errors.As(err, &marked) && cause == "permission" || errors.Is(err, nats.ErrPermissionViolation) || errors.Is(err, conversation.ErrNotPermitted)
}
