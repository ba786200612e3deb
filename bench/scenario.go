package main

import (
	"context"
	"slices"
)

// contestant is who does the work.
type contestant string

const (
	// lethe is the worker's real binary with its default settings.
	lethe contestant = "lethe"
	// plain is what a competent engineer writes in an afternoon; see plain.go.
	plain contestant = "plain"
	// oneStatement is a single DELETE.
	oneStatement contestant = "one statement"
	// nibble is a script's loop over `ctid in (select … limit n)` with a pause.
	nibble contestant = "nibble"
	// bound is the same SQL work, driven without any bus in the fewest statements.
	bound contestant = "bound"
)

// allContestants is their order in the table.
var allContestants = []contestant{lethe, plain, oneStatement, nibble, bound}

// sample is what one trial measured, by the figure's name. What could not be
// measured is absent.
type sample map[string]float64

// scenario is a task that contestants do in turn, each time from fresh data.
type scenario struct {
	id, title string
	// also are ids of figures that this scenario measures besides its own.
	also        []string
	contestants []contestant
	figures     []figure
	// run is one trial. The world is new, and empty but for the schemas.
	run func(ctx context.Context, w *world, who contestant) (sample, error)
}

// figure is one number that a scenario measures.
type figure struct {
	name string
	// goals compare lethe's with another's or with a number; none: it is reported.
	goals []goal
}

// goal is what lethe's figure is compared with.
type goal struct {
	against contestant // "" compares with the number itself
	sense   sense
	number  float64 // of the figure, or of the ratio to against's
}

// sense says on which side of the number the goal lies.
type sense int

const (
	reported sense = iota // no goal: the ratio is shown
	atLeast
	atMost
)

// scenarios is all there is, in order.
func scenarios() []scenario {
	return []scenario{smallCommands(), longConversation(), oneAlone(), duplicates()}
}

// chosen are the scenarios that ids name, all if it is empty, with those of
// their contestants that who names, likewise.
func chosen(ids []string, who []contestant) []scenario {
	all := slices.DeleteFunc(scenarios(), func(s scenario) bool {
		return len(ids) > 0 && !slices.ContainsFunc(ids, s.answersTo)
	})
	for i := range all {
		all[i].restrict(who)
	}
	return all
}

// restrict leaves out all contestants that who doesn't name, unless it is empty.
func (s *scenario) restrict(who []contestant) {
	s.contestants = slices.DeleteFunc(s.contestants, func(c contestant) bool {
		return len(who) > 0 && !slices.Contains(who, c)
	})
	for i, f := range s.figures {
		s.figures[i].goals = slices.DeleteFunc(slices.Clone(f.goals), func(g goal) bool {
			return g.against != "" && !slices.Contains(s.contestants, g.against)
		})
	}
}

func (s scenario) answersTo(id string) bool { return s.id == id || slices.Contains(s.also, id) }

func known(id string) bool { return len(chosen([]string{id}, nil)) > 0 }

// names are the ids that --scenario takes.
func names() []string {
	var ids []string
	for _, s := range scenarios() {
		ids = append(append(ids, s.id), s.also...)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Names of figures that several scenarios share.
const (
	figureWorkerCPU   = "CPU of the worker, s"
	figureNATSCPU     = "CPU of nats-server, s"
	figurePostgresCPU = "CPU of Postgres, s"
	figureWAL         = "WAL, MiB"
	figurePeak        = "S9 peak memory, MiB"
)

// mostMemory is S9's goal in MiB.
const mostMemory = 64

// shared are the figures that go with each trial of S1 and S3.
func shared() []figure {
	return []figure{
		{name: figureWorkerCPU},
		{name: figureNATSCPU},
		{name: figurePostgresCPU},
		{name: figureWAL},
		{name: figurePeak, goals: []goal{{sense: atMost, number: mostMemory}}},
	}
}
