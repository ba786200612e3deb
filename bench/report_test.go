package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// twoRounds is a result in which lethe's ratio to plain is 3 and then 5.
func twoRounds(goals ...goal) result {
	return result{
		scenario: scenario{
			id: "S0", title: "none", contestants: []contestant{lethe, plain},
			figures: []figure{{name: "speed", goals: goals}},
		},
		Trials: []trial{
			{Round: 1, Contestant: lethe, Figures: sample{"speed": 300}},
			{Round: 1, Contestant: plain, Figures: sample{"speed": 100}},
			{Round: 2, Contestant: plain, Figures: sample{"speed": 20}},
			{Round: 2, Contestant: lethe, Figures: sample{"speed": 100}},
		},
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		goal  goal
		value float64
		met   string
	}{
		{"a ratio is the median of the rounds' ratios", goal{against: plain, sense: atLeast, number: 4}, 4, "true"},
		{"a ratio below the goal isn't met", goal{against: plain, sense: atLeast, number: 4.1}, 4, "false"},
		{"at most means not above", goal{against: plain, sense: atMost, number: 4}, 4, "true"},
		{"without another it is the median itself", goal{sense: atMost, number: 199}, 200, "false"},
		{"without a goal nothing is met or not", goal{against: plain}, 4, "null"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, ok := twoRounds().compare("speed", c.goal)
			met, err := json.Marshal(got.Met)
			if !ok || got.Value != c.value || string(met) != c.met || err != nil {
				t.Errorf("compare = %+v (met %s), %v; want %v, met %s", got, met, ok, c.value, c.met)
			}
		})
	}
}

func TestAGoalMayReferToAnotherScenario(t *testing.T) {
	t.Parallel()
	before, r := twoRounds(), twoRounds(goal{against: plain, elsewhere: "S0"})
	r.scenario.id, r.others = "S1", []*result{&before}
	for i := range before.Trials {
		before.Trials[i].Figures = sample{"speed": 50}
	}
	if c, ok := r.compare("speed", r.scenario.figures[0].goals[0]); !ok || c.Value != 4 || c.Elsewhere != "S0" {
		t.Errorf("compare = %+v, %v; want 4, the median of 300/50 and 100/50", c, ok)
	}
	r.others = nil
	if c, ok := r.compare("speed", r.scenario.figures[0].goals[0]); ok {
		t.Errorf("compare with a scenario that wasn't run = %+v", c)
	}
}

func TestCompareOfWhatWasNotMeasuredIsFalse(t *testing.T) {
	t.Parallel()
	if c, ok := twoRounds().compare("speed", goal{against: nibble}); ok {
		t.Errorf("compare with a contestant that took no part = %+v", c)
	}
	if c, ok := twoRounds().compare("weight", goal{sense: atMost, number: 1}); ok {
		t.Errorf("compare of a figure that nobody has = %+v", c)
	}
}

func TestTheTableShowsEachGoalOnALineOfItsOwn(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	one := twoRounds(goal{against: plain, sense: atLeast, number: 3}, goal{sense: atMost, number: 100})
	r := report{Scenarios: []*result{&one}}
	if err := r.print(&out); err != nil {
		t.Fatal(err)
	}
	want := `
  figure  lethe  plain  ratio           goal   met?

S0: none
  speed     200   60.0   4.00  × plain  ≥ 3    yes
                                        ≤ 100  NO
`
	if out.String() != want {
		t.Errorf("the table is\n%s\nwant\n%s", out.String(), want)
	}
}

func TestTheJSONHoldsAllRounds(t *testing.T) {
	t.Parallel()
	data, err := json.Marshal(twoRounds(goal{against: plain, sense: atLeast, number: 3}))
	want := `{"id":"S0","title":"none",` +
		`"figures":[{"name":"speed","medians":{"lethe":200,"plain":60},"comparisons":[{"against":"plain","value":4,"goal":"at least","number":3,"met":true}]}],` +
		`"trials":[{"round":1,"contestant":"lethe","seconds":0,"figures":{"speed":300}},{"round":1,"contestant":"plain","seconds":0,"figures":{"speed":100}},` +
		`{"round":2,"contestant":"plain","seconds":0,"figures":{"speed":20}},{"round":2,"contestant":"lethe","seconds":0,"figures":{"speed":100}}]}`
	if err != nil || string(data) != want {
		t.Errorf("JSON = %s, %v; want %s", data, err, want)
	}
}

func TestPercentile(t *testing.T) {
	t.Parallel()
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[len(hundred)-1-i] = time.Duration(i + 1)
	}
	for _, c := range []struct {
		times []time.Duration
		p     float64
		want  time.Duration
	}{{hundred, 0.5, 50}, {hundred, 0.99, 99}, {hundred, 1, 100}, {hundred[:1], 0.5, 100}, {nil, 0.5, 0}} {
		if got := percentile(c.times, c.p); got != c.want {
			t.Errorf("percentile(%d times, %v) = %d; want %d", len(c.times), c.p, got, c.want)
		}
	}
}

func TestNumber(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{0.851: "0.85", 9.999: "10.00", 12.34: "12.3", 123.4: "123", 1234: "1 234", 1234567: "1 234 567", -1234: "-1 234"} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %q; want %q", v, got, want)
		}
	}
}
