package main

import (
	"io"
	"reflect"
	"slices"
	"testing"
)

func TestParseOptions(t *testing.T) {
	t.Parallel()
	o, err := parseOptions([]string{"--scenario", "s9", "--contestant", "lethe,one statement", "--full", "--rounds", "5"}, io.Discard)
	if err != nil || !reflect.DeepEqual(o.Sizes, fullSizes) || o.Rounds != 5 {
		t.Fatalf("parseOptions = %+v, %v; want the full sizes and five rounds", o, err)
	}
	var got []string
	for _, s := range o.chosen() {
		for _, who := range s.contestants {
			got = append(got, s.id+" "+string(who))
		}
	}
	if want := []string{"S1 lethe", "S3 lethe", "S3 one statement", "S9 lethe"}; !slices.Equal(got, want) {
		t.Errorf("chosen = %q; want %q: S9 is measured in S1 and S3, too", got, want)
	}
}

func TestVariantsTakePartWhereverLetheDoes(t *testing.T) {
	t.Parallel()
	o, err := parseOptions([]string{
		"--scenario", "S6", "--pg", "commit_delay=10", "--variant", "quick: --target=20ms worker=/old/worker limit.max-rows=9 pg.wal_compression=lz4 table.fillfactor=70 index.sent_at nats.max_ack_pending=9 nats.sync", "--variant", "wide: limit.express-lanes=4",
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := o.chosen()[0].contestants, []contestant{lethe, "quick", "wide", plain}; !slices.Equal(got, want) {
		t.Errorf("contestants = %q; want %q", got, want)
	}
	want := variant{
		Name: "quick", Worker: "/old/worker", Flags: []string{"--target=20ms"}, Limits: []string{"max-rows=9"}, NATSSync: true,
		Server: map[string]string{"wal_compression": "lz4"}, Table: map[string]string{"fillfactor": "70"},
		Indexes: []string{"sent_at"}, AckPending: 9,
	}
	if got := o.variant("quick"); !reflect.DeepEqual(got, want) {
		t.Errorf("variant = %+v; want %+v", got, want)
	}
	if !o.isLethe("wide") || o.isLethe(plain) || o.postgresSettings()["commit_delay"] != "10" {
		t.Errorf("isLethe(wide) = %v, isLethe(plain) = %v, settings %v", o.isLethe("wide"), o.isLethe(plain), o.postgresSettings())
	}
}

func TestParseOptionsRefusesWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"--scenario", "S77"},
		{"--contestant", "nobody"},
		{"--rounds", "0"},
		{"--smoke", "--full"},
		{"--pg", "fsync"},
		{"S1"},
		{"--unknown"},
		{"--variant", "--target=1s"},
		{"--variant", "a:"},
		{"--variant", "plain: --target=1s"},
		{"--variant", "a: target=1s"},
		{"--variant", "a: index."},
		{"--variant", "a: worker="},
		{"--variant", "a: nats.max_ack_pending=0"},
		{"--variant", "a: nats.sync", "--variant", "a: --target=1s"},
	} {
		if _, err := parseOptions(args, io.Discard); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}

func TestEveryScenarioHasLetheAndAFigure(t *testing.T) {
	t.Parallel()
	for _, s := range scenarios(fullSizes) {
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
