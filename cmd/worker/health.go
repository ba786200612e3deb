package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// healthCommand is `worker health`, for containers without a shell and without curl.
type healthCommand struct {
	HTTPAddr string        `name:"http-addr" placeholder:"ADDR" default:"${http_addr}" help:"The --http-addr that the worker was started with."`
	Live     bool          `name:"live" help:"Ask whether the process is alive (/livez) instead of whether it is ready (/readyz)."`
	Timeout  time.Duration `name:"timeout" placeholder:"DURATION" default:"3s" range:"100ms..1m" help:"Timeout of the request."`
}

// Help is the long form of the subcommand's help.
func (c *healthCommand) Help() string {
	return `Asks the worker on this machine and prints its answer: exit status 0 if it is ready, 1 if it isn't or doesn't answer.
For the health check of a container. A worker that waits for Postgres or NATS is alive but not ready, and continues by itself:
restart only one that isn't alive.

    worker health
    worker health --live --http-addr :9090`
}

func (c *healthCommand) check() problems {
	var p problems
	p.hostPort("http-addr", c.HTTPAddr)
	return p
}

func (c *healthCommand) run(ctx context.Context, t terminal) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url(), nil)
	if err != nil {
		return err
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	defer func() { _ = res.Body.Close() }() // read to its end, or useless
	body, err := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	text := strings.TrimSpace(string(body))
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("health: %s", text)
	}
	return t.printf("%s\n", text)
}

// url is where to ask. What listens on all addresses is asked on the loopback.
func (c *healthCommand) url() string {
	host, port, _ := net.SplitHostPort(c.HTTPAddr) // checked
	switch ip := net.ParseIP(host); {
	case host == "" || ip != nil && ip.IsUnspecified() && ip.To4() != nil:
		host = "127.0.0.1"
	case ip != nil && ip.IsUnspecified():
		host = "::1"
	}
	path := "/readyz"
	if c.Live {
		path = "/livez"
	}
	return "http://" + net.JoinHostPort(host, port) + path
}
