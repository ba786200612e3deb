package main

import (
	"cmp"
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
	// nothing deletes nothing.
	nothing contestant = "nothing"
)

// allContestants is their order in the table.
var allContestants = []contestant{lethe, plain, oneStatement, nibble, bound, nothing}

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
	// rounds is the most rounds that it has, for what takes long; 0: as many as
	// the command line asks for.
	rounds int
	// plan is the worker's; "" for the bundled one.
	plan string
	// server are settings of Postgres that hold for its trials.
	server map[string]string
	// load fills the database that every trial has a copy of.
	load func(ctx context.Context, w *world) error
	// run is one trial, in a world that is new but for what load made.
	run func(ctx context.Context, w *world, who contestant) (sample, error)
	// onTheWire is a second trial of workers, if not nil, for figures that
	// somebody in between has to measure, who costs time; they join the others.
	onTheWire func(ctx context.Context, w *world, who contestant) (sample, error)
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
	// elsewhere is another scenario of the same run, whose figure of the same name
	// counts as against's.
	elsewhere string
}

// sense says on which side of the number the goal lies.
type sense int

const (
	reported sense = iota // no goal: the ratio is shown
	atLeast
	atMost
)

// scenarios is all there is, in order.
func scenarios(size sizes) []scenario {
	all := []scenario{smallCommands()}
	for _, step := range size.Steps {
		all = append(all, otherSizes(step))
	}
	all = append(all, longConversation(), withChildren(), withForeignKeys(), whilePeopleChat(), oneAlone(),
		oneAmid(), duplicates(), growingHistory(size.Histories), farReplicas())
	for _, messages := range size.Logs {
		all = append(all, hideLogs(messages))
	}
	return append(all, eraseLog(false), eraseLog(true), wholeUser(), shards(), busOfShards(size.Shards), smallWithForeignKeys())
}

// chosen are the scenarios and contestants that the command line names, all if
// it names none. Variants take part wherever lethe does.
func (o options) chosen() []scenario {
	all := slices.DeleteFunc(scenarios(o.Sizes), func(s scenario) bool {
		return len(o.Scenarios) > 0 && !slices.ContainsFunc(o.Scenarios, s.answersTo)
	})
	for i := range all {
		for j, v := range o.Variants {
			all[i].contestants = slices.Insert(slices.Clone(all[i].contestants), 1+j, v.Name)
		}
		all[i].restrict(o.Contestants)
	}
	return all
}

// restrict leaves out all contestants that who doesn't name, unless it is empty.
func (s *scenario) restrict(who []contestant) {
	s.contestants = slices.DeleteFunc(s.contestants, func(c contestant) bool {
		return len(who) > 0 && !slices.Contains(who, c)
	})
	s.figures = slices.Clone(s.figures)
	for i, f := range s.figures {
		s.figures[i].goals = slices.DeleteFunc(slices.Clone(f.goals), func(g goal) bool {
			return g.against != "" && !slices.Contains(s.contestants, g.against)
		})
	}
}

func (s scenario) answersTo(id string) bool { return s.id == id || slices.Contains(s.also, id) }

func known(id string) bool { return slices.Contains(names(), id) }

// names are the ids that --scenario takes.
func names() []string {
	var ids []string
	for _, s := range scenarios(quickSizes) {
		ids = append(append(ids, s.id), s.also...)
	}
	slices.SortFunc(ids, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	return slices.Compact(ids)
}

// Names of figures that several scenarios share.
const (
	figureWorkerCPU   = "S11 CPU of the worker, µs/message"
	figureNATSCPU     = "S11 CPU of nats-server, µs/message"
	figurePostgresCPU = "S11 CPU of Postgres, µs/message"
	figureWAL         = "S11 WAL, bytes/message"
	figurePeak        = "S9 peak memory, MiB"
)

// mostMemory is S9's goal in MiB.
const mostMemory = 64

// shared are the figures that go with each trial of what removes messages.
func shared() []figure {
	return []figure{
		{name: figureWorkerCPU},
		{name: figureNATSCPU},
		{name: figurePostgresCPU},
		{name: figureWAL},
		{name: figurePeak, goals: []goal{{sense: atMost, number: mostMemory}}},
	}
}
