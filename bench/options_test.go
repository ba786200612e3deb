package main

import (
	"io"
	"slices"
	"strings"
	"testing"
)

func TestParseOptions(t *testing.T) {
	t.Parallel()
	o, err := parseOptions([]string{"--scenario", "s9", "--contestant", "lethe,one statement", "--full", "--rounds", "5"}, io.Discard)
	if err != nil || o.Sizes != fullSizes || o.Rounds != 5 {
		t.Fatalf("parseOptions = %+v, %v; want the full sizes and five rounds", o, err)
	}
	var got []string
	for _, s := range chosen(o.Scenarios, o.Contestants) {
		for _, who := range s.contestants {
			got = append(got, s.id+" "+string(who))
		}
	}
	if want := []string{"S1 lethe", "S3 lethe", "S3 one statement"}; !slices.Equal(got, want) {
		t.Errorf("chosen = %q; want %q: S9 is measured in S1 and S3", got, want)
	}
}

func TestParseOptionsRefusesWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	for _, args := range []string{
		"--scenario S77", "--contestant nobody", "--rounds 0", "--smoke --full", "--wal-compression zip", "S1", "--unknown",
	} {
		if _, err := parseOptions(strings.Fields(args), io.Discard); err == nil {
			t.Errorf("%s: no error", args)
		}
	}
}

func TestEveryScenarioHasLetheAndAFigure(t *testing.T) {
	t.Parallel()
	for _, s := range scenarios() {
		if len(s.figures) == 0 || len(s.contestants) == 0 || s.contestants[0] != lethe {
			t.Errorf("%s: %d figures, contestants %q", s.id, len(s.figures), s.contestants)
		}
		for _, f := range s.figures {
			for _, g := range f.goals {
				if g.against != "" && !slices.Contains(s.contestants, g.against) {
					t.Errorf("%s, %s: compared with %q, who takes no part", s.id, f.name, g.against)
				}
			}
		}
	}
}
