package main

import (
	"context"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/repo"
)

// settingsCommands is `worker settings`.
type settingsCommands struct {
	Get settingsGet `cmd:"" help:"Show an app's settings."`
	Set settingsSet `cmd:"" help:"Change an app's settings, from the next deletion that finishes; no restart."`
}

// settingsConfig is what both subcommands take.
type settingsConfig struct {
	shardConfig
	databaseConfig
	jsonConfig
	App string `name:"app" required:"" placeholder:"APP" help:"The app."`
}

// check implements subcommand for both.
func (c *settingsConfig) check() problems {
	var p problems
	c.shardConfig.check(&p)
	c.databaseConfig.check(&p)
	checkApp(&p, c.App, true)
	return p
}

// settingsGet is `worker settings get`.
type settingsGet struct {
	settingsConfig
}

func (c *settingsGet) run(ctx context.Context, t terminal) error {
	ledger, err := c.openLedger(ctx, c.DatabaseURL)
	if err != nil {
		return err
	}
	defer ledger.Close()
	s, err := ledger.Settings(ctx, c.App)
	if err != nil {
		return err
	}
	return c.print(t, s)
}

// settingsSet is `worker settings set`.
type settingsSet struct {
	settingsConfig
	MultiClientSync bool `name:"multi-client-sync" required:"" help:"Inform all of the user's devices of a deletion (true), or only the one that asked (false)."`
}

// Help is the long form of the subcommand's help.
func (c *settingsSet) Help() string {
	return `    worker settings set --app demo --multi-client-sync=true`
}

func (c *settingsSet) run(ctx context.Context, t terminal) error {
	ledger, err := c.openLedger(ctx, c.DatabaseURL)
	if err != nil {
		return err
	}
	defer ledger.Close()
	s := repo.Settings{App: c.App, MultiClientSync: c.MultiClientSync, Explicit: true}
	if err := ledger.SetSettings(ctx, s); err != nil {
		return err
	}
	return c.print(t, s)
}

// appSettings is an app's settings for programs.
type appSettings struct {
	AppID           string `json:"app_id"`
	MultiClientSync bool   `json:"multi_client_sync"`
	// Default: the app has no settings of its own.
	Default bool `json:"default,omitempty"`
}

func (c *settingsConfig) print(t terminal, s repo.Settings) error {
	if c.JSON {
		return t.printJSON(appSettings{AppID: s.App, MultiClientSync: s.MultiClientSync, Default: !s.Explicit})
	}
	which := ""
	if !s.Explicit {
		which = " (default)"
	}
	return t.printf("%s: multi-client-sync=%t%s\n", printable(s.App), s.MultiClientSync, which)
}

// checkApp complains where app can't be an app's id. Where it isn't required it
// may be empty.
func checkApp(p *problems, app string, required bool) {
	if app == "" && !required {
		return
	}
	filled := conversation.Command{CommandID: "-", AppID: app, UserID: "-", Conversations: []conversation.Target{{ID: "-"}}}
	if err := filled.Validate(); err != nil {
		p.add("app", "%v", err)
	}
}
