package main

import (
	"strings"
	"testing"
	"time"
)

func TestSetupCheckShowsEachPropertyAndChangesNothing(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	check := func(args ...string) outcome { return s.command(append([]string{"setup", "--check"}, args...)...) }
	o := check("--json").mustFail(t, exitError, "4 properties are not right: run `worker setup`")
	for _, line := range o.objects(t) {
		wantField(t, line, "found", "missing")
		wantField(t, line, "setup", "creates")
	}
	s.command("setup").mustSucceed(t)
	check().mustSucceed(t)
	if n := len(check("--json").mustSucceed(t).objects(t)); n < 100 {
		t.Errorf("%d properties; want all", n)
	}
	if _, err := s.jetstream(t).PauseConsumer(t.Context(), "CONVERSATION_COMMANDS", "deletion-worker", time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second sees that the first has changed nothing
		o = check().mustFail(t, exitError, "1 property is not right")
		if n := strings.Count(o.stdout, "WRONG"); n != 1 || !strings.Contains(o.stdout, "pause_until") {
			t.Errorf("check printed %d wrong lines: %s", n, o.stdout)
		}
	}
	if out := s.command("setup").mustSucceed(t).stdout; !strings.Contains(out, "pause_until: none, was ") {
		t.Errorf("setup printed %q; want the pause ended", out)
	}
	check().mustSucceed(t)
}
