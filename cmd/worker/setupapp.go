package main

import (
	"context"
	"errors"
	"time"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/broker"
)

// setupAppCommand is `worker setup-app`.
type setupAppCommand struct {
	natsConfig
	jsonConfig
	App            string        `name:"app" required:"" placeholder:"APP" help:"The app."`
	AppURL         string        `name:"app-nats-url" required:"" placeholder:"URL" help:"Addresses of the NATS servers with the user that sets up the app's account."`
	AppCreds       string        `name:"app-nats-creds" placeholder:"FILE" help:"Credentials file (JWT and seed) of that user."`
	AppInbox       string        `name:"app-nats-inbox-prefix" placeholder:"PREFIX" default:"${inbox_prefix}" help:"Prefix of the subjects on which NATS replies to it."`
	EventsMaxBytes *byteSize     `name:"app-events-max-bytes" placeholder:"SIZE" range:"8MiB.." help:"Maximum size of the app's stream of events; beyond it the oldest events are removed. New streams: what the account may store."`
	Timeout        time.Duration `name:"timeout" placeholder:"DURATION" default:"30s" range:"1s..1h" help:"Timeout."`
}

// Help is the long form of the subcommand's help.
func (c *setupAppCommand) Help() string {
	return `Creates the stream CONVERSATION_EVENTS in an app's own NATS account (deploy/nats). It follows the workers' stream, and
the app's presence services read it. Run it after worker setup, once for each app and after each upgrade. Safe to repeat.
If the app's stream was deleted, it is created again with all events that the workers' stream still has.

    worker setup-app --app demo --nats-url nats://setup@nats:4222 --app-nats-url nats://setup-demo@nats:4222`
}

func (c *setupAppCommand) check() problems {
	var p problems
	c.natsConfig.check(&p)
	p = append(p, c.checkApp()...)
	cmd := conversation.Command{CommandID: "-", AppID: c.App, UserID: "-", Conversations: []conversation.Target{{ID: "-"}}}
	if err := cmd.Validate(); err != nil {
		p.add("app", "%v", err)
	}
	return p
}

// checkApp checks the app's address, credentials and inbox as the others are, and
// leaves out the TLS that they share.
func (c *setupAppCommand) checkApp() problems {
	theirs := c.appConfig()
	theirs.NATSTLSCA, theirs.NATSTLSCert, theirs.NATSTLSKey = "", "", ""
	var found problems
	theirs.check(&found)
	for i, err := range found {
		if named, ok := err.(problem); ok { //nolint:errorlint // ours, never wrapped
			found[i] = problem{"app-" + named.flag, named.text}
		}
	}
	return found
}

// appConfig is how to reach the app's account: by the same TLS.
func (c *setupAppCommand) appConfig() natsConfig {
	theirs := c.natsConfig
	theirs.NATSURL, theirs.NATSCreds, theirs.NATSInbox = c.AppURL, c.AppCreds, c.AppInbox
	return theirs
}

func (c *setupAppCommand) run(ctx context.Context, t terminal) (err error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	lethe, err := broker.Connect(ctx, c.brokerConfig("lethe-setup-app"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lethe.Close()) }()
	theirs := c.appConfig()
	app, err := broker.Connect(ctx, theirs.brokerConfig("lethe-setup-app"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, app.Close()) }()
	report, err := broker.SetupApp(ctx, lethe, app, broker.AppOptions{App: c.App, EventsMaxBytes: int64(given(c.EventsMaxBytes))})
	return errors.Join(err, printParts(t, c.JSON, streamParts(report)...))
}
