package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
)

// The addresses of the servers contain passwords, and where one is malformed nobody
// knows which part of it that is: so the errors here quote none of it, nor do they
// wrap the parsers' own errors, which do.

// checkNATSURL returns what is wrong with a list of NATS servers with commas
// between them, as nats.go reads it. What a URL of NATS has no use for, such as a
// path, is a sign of a password that isn't percent-encoded.
func checkNATSURL(list string) error {
	servers := strings.Split(list, ",")
	for n, server := range servers {
		server = strings.TrimSpace(server)
		if !strings.Contains(server, "://") {
			server = "nats://" + server
		}
		u, err := url.Parse(server)
		if err != nil || u.Hostname() == "" || !validPort(u.Port()) || strings.Trim(u.Path, "/")+u.RawQuery+u.Fragment != "" {
			return fmt.Errorf("--nats-url (NATS_URL): server %d of %d is not a URL: want nats://user:password@host:4222, "+
				"with special characters of the password percent-encoded (%%40 for @)", n+1, len(servers))
		}
	}
	return nil
}

func validPort(port string) bool {
	if port == "" {
		return true
	}
	_, err := strconv.ParseUint(port, 10, 16)
	return err == nil
}

// databaseConfig reads a Postgres connection string. name is the setting's.
func databaseConfig(name, text string) (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig(text)
	var file *fs.PathError
	if errors.As(err, &file) { // of a certificate, a key or a service file
		return nil, fmt.Errorf("%s: %w", name, file)
	}
	if err != nil || passwordAstray(cfg, text) {
		return nil, fmt.Errorf("%s is not a connection string: want postgres://user@host:5432/db or key=value pairs; "+
			"percent-encode special characters in a URL (%%40 for @), and put values with spaces in single quotes", name)
	}
	return cfg, nil
}

// parameter is the name of a setting of Postgres.
var parameter = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)

// passwordAstray reports whether a connection string that could be read seems to
// have a part of its password elsewhere, from where it would get into messages: the
// host ("postgres://user:12#34@host"), or the name of a parameter ("password=my secret x=y").
func passwordAstray(cfg *pgxpool.Config, text string) bool {
	for name := range cfg.ConnConfig.RuntimeParams {
		if !parameter.MatchString(name) {
			return true
		}
	}
	if !strings.HasPrefix(text, "postgres://") && !strings.HasPrefix(text, "postgresql://") {
		return false
	}
	u, err := url.Parse(text)
	return err != nil || u.Fragment != "" || u.User == nil && strings.Contains(u.Path+u.RawQuery, "@")
}

var roles = []string{"gateway", "presence", "all"}

// hideArguments takes the arguments that are not flags out of an error about the
// command line: what isn't quoted well there is the rest of somebody's password.
func hideArguments(err error, args []string) error {
	text := err.Error()
	for _, arg := range args {
		if strings.HasPrefix(arg, "--") {
			_, arg, _ = strings.Cut(arg, "=")
		}
		if arg != "" && !slices.Contains(roles, arg) {
			text = strings.ReplaceAll(text, arg, "…")
		}
	}
	return fmt.Errorf("%s: expected one of the roles gateway, presence and all, and flags as in --help; put values with spaces in quotes", text)
}
