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
			{1, lethe, sample{"speed": 300}},
			{1, plain, sample{"speed": 100}},
			{2, plain, sample{"speed": 20}},
			{2, lethe, sample{"speed": 100}},
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
		{"a ratio is the median of the rounds' ratios", goal{plain, atLeast, 4}, 4, "true"},
		{"a ratio below the goal isn't met", goal{plain, atLeast, 4.1}, 4, "false"},
		{"at most means not above", goal{plain, atMost, 4}, 4, "true"},
		{"without another it is the median itself", goal{"", atMost, 199}, 200, "false"},
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
	r := report{Scenarios: []result{twoRounds(goal{plain, atLeast, 3}, goal{"", atMost, 100})}}
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
	data, err := json.Marshal(twoRounds(goal{plain, atLeast, 3}))
	want := `{"id":"S0","title":"none",` +
		`"figures":[{"name":"speed","medians":{"lethe":200,"plain":60},"comparisons":[{"against":"plain","value":4,"goal":"at least","number":3,"met":true}]}],` +
		`"trials":[{"round":1,"contestant":"lethe","figures":{"speed":300}},{"round":1,"contestant":"plain","figures":{"speed":100}},` +
		`{"round":2,"contestant":"plain","figures":{"speed":20}},{"round":2,"contestant":"lethe","figures":{"speed":100}}]}`
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
