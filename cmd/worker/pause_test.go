package main

import (
	"strings"
	"testing"
)

func TestPauseAndResumeMayBeRepeated(t *testing.T) {
	t.Parallel()
	s := newReadyStack(t)
	type state struct {
		lane            string
		paused, changed bool
	}
	for i, c := range []struct {
		args string
		want []state
	}{
		{"resume", []state{{"all", false, false}, {"long", false, false}}},
		{"pause", []state{{"all", true, true}}},
		{"pause --lane all", []state{{"all", true, false}}},
		{"pause --lane=long", []state{{"long", true, true}}},
		{"resume --lane=long", []state{{"long", false, true}}},
		{"resume --lane=long", []state{{"long", false, false}}},
		{"pause --lane=long", []state{{"long", true, true}}},
		{"resume", []state{{"all", false, true}, {"long", false, true}}},
	} {
		found := s.command(append(strings.Fields(c.args), "--json")...).mustSucceed(t).objects(t)
		if len(found) != len(c.want) {
			t.Fatalf("%d: %s printed %v; want %v", i, c.args, found, c.want)
		}
		for j, want := range c.want {
			got := found[j]
			if got["lane"] != want.lane || got["paused"] != want.paused || got["changed"] != want.changed || (got["since"] != nil) != want.paused {
				t.Errorf("%d: %s printed %v; want %+v", i, c.args, got, want)
			}
		}
	}
	for _, c := range []struct{ args, want string }{
		{"pause", "lane all: paused\n"},
		{"pause", "lane all: paused already, since "},
		{"resume --lane long", "lane long: was not paused\nlane all: still paused, since "},
		{"resume", "lane all: resumed\nlane long: was not paused\n"},
	} {
		if out := s.command(strings.Fields(c.args)...).mustSucceed(t).stdout; !strings.HasPrefix(out, c.want) {
			t.Errorf("%s printed %q; want %q", c.args, out, c.want)
		}
	}
	s.command("pause", "--lane", "express").mustFail(t, exitUsage, `--lane: "express" is not known: expected all, long`)
}

func TestPauseWithoutTheSchemaSaysWhatToDo(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	for _, args := range []string{"pause", "resume"} {
		s.command(args).mustFail(t, exitError, "run: worker setup")
	}
}
