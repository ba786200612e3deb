package broker

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
	"github.com/lethe-im/lethe/internal/localstack/localtest"
)

// jsonNames are the properties of a configuration.
func jsonNames(config any) map[string]bool {
	names := map[string]bool{}
	for _, f := range reflect.VisibleFields(reflect.TypeOf(config)) {
		if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); tag != "" && tag != "-" {
			names[tag] = true
		}
	}
	return names
}

// holes returns the properties that the table leaves out for what is called of.
func holes[C any](table []property[C], of string, known ...any) (missing []string) {
	names := map[string]bool{}
	for _, config := range known {
		for name := range jsonNames(config) {
			names[name] = true
		}
	}
	for _, p := range table {
		if slices.Contains(p.of, of) {
			delete(names, p.name)
		}
	}
	for name := range names {
		missing = append(missing, name)
	}
	slices.Sort(missing)
	return missing
}

func TestTheTableHasEveryPropertyThatTheServerKnows(t *testing.T) {
	t.Parallel()
	for _, stream := range allStreams {
		if got := holes(streamProperties, stream, streamConfig{}, server.StreamConfig{}); !slices.Equal(got, []string{"name"}) {
			t.Errorf("%s: no line for %v; want one for each property but the name", stream, got)
		}
	}
	// direct and sourcing are the server's own, for mirrors and sources; not all versions have both.
	own := func(name string) bool { return name == "direct" || name == "sourcing" }
	got := holes(consumerProperties, conversation.WorkerConsumer, consumerConfig{}, server.ConsumerConfig{})
	if got = slices.DeleteFunc(got, own); !slices.Equal(got, []string{"name"}) {
		t.Errorf("consumer: no line for %v; want one for each property but the name", got)
	}
	for _, p := range streamProperties {
		checkLine(t, p)
	}
	for _, p := range consumerProperties {
		checkLine(t, p)
	}
}

func checkLine[C any](t *testing.T, p property[C]) {
	t.Helper()
	free := p.setup == leaves || p.setup == sets
	if p.right != nil && p.setup == leaves || free != (p.run == ignores) || !free && p.why == "" {
		t.Errorf("%v %s: setup %s, worker %s, why %q; want them to go together", p.of, p.name, p.setup, p.run, p.why)
	}
}

// alteration makes a property wrong.
type alteration[C any] struct {
	of, name string
	alter    func(*C)
	also     []string // what has to be wrong with it
	barred   string   // the server's own words, where it takes no such value on such a stream
	needs    string   // the nats-server that knows it, or lets it be changed
}

var alteredStreams = []alteration[streamConfig]{
	{of: "*", name: "subjects", alter: func(c *streamConfig) { c.Subjects = []string{"other." + c.Name} }},
	{of: "C", name: "retention", alter: func(c *streamConfig) { c.Retention = jetstream.LimitsPolicy }},
	{of: "C", name: "retention", alter: func(c *streamConfig) { c.Retention = jetstream.InterestPolicy }},
	{of: "EL", name: "retention", alter: func(c *streamConfig) { c.Retention = jetstream.WorkQueuePolicy }},
	{of: "EL", name: "retention", alter: func(c *streamConfig) { c.Retention = jetstream.InterestPolicy }},
	{of: "*", name: "storage", alter: func(c *streamConfig) { c.Storage = jetstream.MemoryStorage }},
	{of: "*", name: "discard", alter: func(c *streamConfig) { c.Discard, c.DiscardNewPerSubject = jetstream.DiscardOld, false }, also: []string{"discard_new_per_subject"}},
	{of: "*", name: "mirror", alter: func(c *streamConfig) {
		c.Mirror, c.Subjects, c.Duplicates = &jetstream.StreamSource{Name: "FRONT"}, nil, 0
	}, also: []string{"subjects", "duplicate_window"}},
	{of: "C", name: "sources", alter: func(c *streamConfig) {
		c.Sources = []*jetstream.StreamSource{{Name: "FRONT", OptStartSeq: 1}, {Name: "FRONT", OptStartSeq: 1, External: &jetstream.ExternalStream{APIPrefix: "$JS.other.API"}}}
	}},
	{of: "C", name: "sources", alter: func(c *streamConfig) { c.Sources = []*jetstream.StreamSource{{Name: "FRONT"}} }},
	{of: "*", name: "sealed", alter: func(c *streamConfig) { c.Sealed = true }, also: []string{"deny_delete", "max_age"}},
	{of: "*", name: "no_ack", alter: func(c *streamConfig) { c.NoAck = true }},
	{of: "L", name: "max_bytes", alter: func(c *streamConfig) { c.MaxBytes = -1 }},
	{of: "L", name: "max_bytes", alter: func(c *streamConfig) { c.MaxBytes = 1 << 20 }},
	{of: "E", name: "max_msgs_per_subject", alter: func(c *streamConfig) { c.MaxMsgsPerSubject = 1000 }},
	{of: "E", name: "max_msgs_per_subject", alter: func(c *streamConfig) { c.MaxMsgsPerSubject = -1 }},
	{of: "L", name: "max_msgs_per_subject", alter: func(c *streamConfig) { c.MaxMsgsPerSubject = 5 }},
	{of: "C", name: "discard_new_per_subject", alter: func(c *streamConfig) { c.DiscardNewPerSubject = false }},
	{of: "EL", name: "discard_new_per_subject", alter: func(c *streamConfig) { c.MaxMsgsPerSubject, c.DiscardNewPerSubject = 200_000, true }, also: []string{"max_msgs_per_subject"}},
	{of: "C", name: "max_age", alter: func(c *streamConfig) { c.MaxAge = time.Hour }},
	{of: "C", name: "max_msg_size", alter: func(c *streamConfig) { c.MaxMsgSize = 1000 }},
	{of: "C", name: "max_msg_size", alter: func(c *streamConfig) { c.MaxMsgSize = -1 }},
	{of: "EL", name: "max_msg_size", alter: func(c *streamConfig) { c.MaxMsgSize = 1000 }},
	{of: "E", name: "max_consumers", alter: func(c *streamConfig) { c.MaxConsumers = -1 }, needs: "2.12.7"},
	{of: "C", name: "duplicate_window", alter: func(c *streamConfig) { c.Duplicates = 2 * time.Minute }},
	{of: "EL", name: "duplicate_window", alter: func(c *streamConfig) { c.Duplicates = time.Minute }},
	{of: "EL", name: "allow_direct", alter: func(c *streamConfig) { c.AllowDirect = false }},
	{of: "C", name: "consumer_limits", alter: func(c *streamConfig) { c.ConsumerLimits.MaxAckPending = 10 }},
	{of: "C", name: "consumer_limits", alter: func(c *streamConfig) { c.ConsumerLimits.InactiveThreshold = time.Minute }},
	{of: "L", name: "deny_delete", alter: func(c *streamConfig) { c.DenyDelete = true }},
	{of: "*", name: "allow_rollup_hdrs", alter: func(c *streamConfig) { c.AllowRollup = true }},
	{of: "C", name: "allow_msg_ttl", alter: func(c *streamConfig) { c.AllowMsgTTL = true }},
	{
		of: "*", name: "subject_delete_marker_ttl", alter: func(c *streamConfig) {
			c.SubjectDeleteMarkerTTL, c.AllowMsgTTL, c.AllowRollup = time.Minute, true, true
		},
		also: []string{"allow_rollup_hdrs", "allow_msg_ttl"},
	},
	{of: "C", name: "allow_msg_counter", alter: func(c *streamConfig) {
		c.AllowMsgCounter, c.Retention, c.Discard, c.DiscardNewPerSubject = true, jetstream.LimitsPolicy, jetstream.DiscardOld, false
	}, also: []string{"retention", "discard", "discard_new_per_subject"}},
	{of: "EL", name: "allow_msg_counter", alter: func(c *streamConfig) { c.AllowMsgCounter, c.Discard = true, jetstream.DiscardOld }, also: []string{"discard"}},
	{of: "*", name: "allow_msg_schedules", alter: func(c *streamConfig) {
		c.AllowMsgSchedules, c.Discard, c.DiscardNewPerSubject = true, jetstream.DiscardOld, false
	}, also: []string{"discard", "discard_new_per_subject", "allow_rollup_hdrs"}},
	{of: "*", name: "persist_mode", alter: func(c *streamConfig) { c.PersistMode = jetstream.AsyncPersistMode }},
	{of: "*", name: "subject_transform", alter: func(c *streamConfig) {
		c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: "conversation.>", Destination: "moved.>"}
	}},

	{of: "C", name: "metadata", alter: func(c *streamConfig) { c.Metadata = map[string]string{"team": "chat", ledgerKey: "another"} }},

	// What is left: nothing is wrong.
	{of: "*", name: "max_msgs", alter: func(c *streamConfig) { c.MaxMsgs = 1_000_000 }},
	{of: "C", name: "max_msgs_per_subject", alter: func(c *streamConfig) { c.MaxMsgsPerSubject = 5 }},
	{of: "CE", name: "max_bytes", alter: func(c *streamConfig) { c.MaxBytes = 20 << 20 }},
	{of: "EL", name: "max_age", alter: func(c *streamConfig) { c.MaxAge = 99 * time.Hour }},
	{of: "*", name: "compression", alter: func(c *streamConfig) { c.Compression = jetstream.S2Compression }},
	{of: "EL", name: "metadata", alter: func(c *streamConfig) { c.Metadata = map[string]string{"team": "chat"} }},
	{of: "C", name: "sources", alter: func(c *streamConfig) { c.Sources = []*jetstream.StreamSource{{Name: "FRONT", OptStartSeq: 7}} }},
	{of: "EL", name: "sources", alter: func(c *streamConfig) { c.Sources = []*jetstream.StreamSource{{Name: "FRONT"}} }},
	{of: "EL", name: "allow_msg_ttl", alter: func(c *streamConfig) { c.AllowMsgTTL = true }},
}

var alteredConsumers = []alteration[consumerConfig]{
	{name: "durable_name", alter: func(c *consumerConfig) { c.Name, c.Durable = c.Durable, "" }, also: []string{"inactive_threshold"}},
	{name: "deliver_subject", alter: func(c *consumerConfig) { c.DeliverSubject, c.MaxWaiting = "push", 0 }, also: []string{"max_waiting"}},
	{name: "deliver_group", alter: func(c *consumerConfig) { c.DeliverSubject, c.DeliverGroup, c.MaxWaiting = "push", "group", 0 }, also: []string{"deliver_subject", "max_waiting"}},
	{name: "flow_control", alter: func(c *consumerConfig) {
		c.DeliverSubject, c.FlowControl, c.IdleHeartbeat, c.MaxWaiting = "push", true, time.Second, 0
	}, also: []string{"deliver_subject", "idle_heartbeat", "max_waiting"}},
	{name: "idle_heartbeat", alter: func(c *consumerConfig) { c.DeliverSubject, c.IdleHeartbeat, c.MaxWaiting = "push", time.Second, 0 }, also: []string{"deliver_subject", "max_waiting"}},
	{name: "rate_limit_bps", alter: func(c *consumerConfig) { c.DeliverSubject, c.RateLimit, c.MaxWaiting = "push", 1<<20, 0 }, also: []string{"deliver_subject", "max_waiting"}},
	{name: "ack_policy", alter: func(c *consumerConfig) { c.AckPolicy = jetstream.AckAllPolicy }, barred: "requires explicit ack"},
	{name: "deliver_policy", alter: func(c *consumerConfig) { c.DeliverPolicy = jetstream.DeliverNewPolicy }, barred: "must be deliver all"},
	{name: "opt_start_seq", alter: func(c *consumerConfig) { c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, 5 }, barred: "must be deliver all"},
	{name: "opt_start_time", alter: func(c *consumerConfig) {
		now := time.Now()
		c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &now
	}, barred: "must be deliver all"},
	{name: "replay_policy", alter: func(c *consumerConfig) { c.ReplayPolicy = jetstream.ReplayOriginalPolicy }},
	{name: "pause_until", alter: func(c *consumerConfig) { later := time.Now().Add(time.Hour); c.PauseUntil = &later }},
	{name: "headers_only", alter: func(c *consumerConfig) { c.HeadersOnly = true }},
	{name: "filter_subject", alter: func(c *consumerConfig) { c.FilterSubject = "conversation.delete.demo" }},
	{name: "filter_subjects", alter: func(c *consumerConfig) { c.FilterSubjects = []string{"conversation.delete.a", "conversation.delete.b"} }},
	{name: "max_ack_pending", alter: func(c *consumerConfig) { c.MaxAckPending = 1 }},
	{name: "max_deliver", alter: func(c *consumerConfig) { c.MaxDeliver = 5 }},
	{name: "backoff", alter: func(c *consumerConfig) { c.BackOff = []time.Duration{time.Second, time.Minute} }},
	{name: "ack_wait", alter: func(c *consumerConfig) { c.AckWait = 10 * time.Millisecond }},
	{name: "max_waiting", alter: func(c *consumerConfig) { c.MaxWaiting = 1 }},
	{name: "max_batch", alter: func(c *consumerConfig) { c.MaxRequestBatch = 1 }},
	{name: "max_expires", alter: func(c *consumerConfig) { c.MaxRequestExpires = 2 * time.Millisecond }},
	{name: "max_bytes", alter: func(c *consumerConfig) { c.MaxRequestMaxBytes = 100 }},
	{name: "inactive_threshold", alter: func(c *consumerConfig) { c.InactiveThreshold = time.Hour }},
	{name: "priority_policy", alter: func(c *consumerConfig) {
		c.PriorityPolicy, c.PriorityGroups = jetstream.PriorityPolicyOverflow, []string{"g"}
	}, also: []string{"priority_groups"}},
	{name: "priority_groups", alter: func(c *consumerConfig) {
		c.PriorityPolicy, c.PriorityGroups, c.PinnedTTL = jetstream.PriorityPolicyPinned, []string{"g"}, time.Minute
	}, also: []string{"priority_policy", "priority_timeout"}},
	{name: "priority_timeout", alter: func(c *consumerConfig) {
		c.PriorityPolicy, c.PriorityGroups, c.PinnedTTL = jetstream.PriorityPolicyPinned, []string{"g"}, time.Minute
	}, also: []string{"priority_policy", "priority_groups"}},

	{name: "mem_storage", alter: func(c *consumerConfig) { c.MemoryStorage = true }},
	{name: "max_ack_pending", alter: func(c *consumerConfig) { c.MaxAckPending = 300_000 }},
	{name: "max_ack_pending", alter: func(c *consumerConfig) { c.MaxAckPending = -1 }},
	{name: "sample_freq", alter: func(c *consumerConfig) { c.SampleFrequency = "10%" }},
	{name: "ack_wait", alter: func(c *consumerConfig) { c.AckWait = 5 * time.Second }},
}

// letters of alteration.of.
var streamOfLetter = map[rune]string{'C': conversation.CommandsStream, 'E': conversation.EventsStream, 'L': conversation.DeadLettersStream}

func TestEachPropertyThatSomebodyAlters(t *testing.T) {
	t.Parallel()
	for i, a := range alteredStreams {
		letters := strings.ReplaceAll(a.of, "*", "CEL")
		for _, letter := range letters {
			t.Run(fmt.Sprintf("%s/%s/%d", streamOfLetter[letter], a.name, i), func(t *testing.T) {
				t.Parallel()
				if a.needs != "" {
					localtest.NeedsNATS(t, a.needs)
				}
				rig := newAltered(t, a.also)
				for _, fresh := range newStreams(goal{}) {
					config, _ := compare(streamProperties, fresh.Name, fresh, rig.goal)
					if fresh.Name == streamOfLetter[letter] {
						a.alter(&config)
					}
					seal := config.Sealed // which no new stream may be
					config.Sealed = false
					_, err := rig.js.CreateStream(t.Context(), config)
					if err == nil && seal {
						config.Sealed = true
						_, err = rig.js.UpdateStream(t.Context(), config)
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				rig.check(streamOfLetter[letter], a.name)
			})
		}
	}
	for i, a := range alteredConsumers {
		t.Run(fmt.Sprintf("consumer/%s/%d", a.name, i), func(t *testing.T) {
			t.Parallel()
			rig := newAltered(t, a.also)
			setup(t, rig.b, alteredOptions)
			if err := rig.js.DeleteConsumer(t.Context(), conversation.CommandsStream, conversation.WorkerConsumer); err != nil {
				t.Fatal(err)
			}
			config, _ := compare(consumerProperties, conversation.WorkerConsumer,
				consumerConfig{Durable: conversation.WorkerConsumer, MaxWaiting: defaultWaiting}, rig.goal)
			a.alter(&config)
			var err error
			if config.DeliverSubject != "" {
				_, err = rig.js.CreatePushConsumer(t.Context(), conversation.CommandsStream, config)
			} else {
				_, err = rig.js.CreateConsumer(t.Context(), conversation.CommandsStream, config)
			}
			if a.barred != "" {
				if err == nil || !strings.Contains(err.Error(), a.barred) {
					t.Errorf("create = %v; want the server to refuse it: %q", err, a.barred)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			rig.check(conversation.WorkerConsumer, a.name)
		})
	}
}

// altered is a server with something that somebody has altered.
type altered struct {
	t    *testing.T
	b    *Broker
	js   jetstream.JetStream
	gate *fakeGate
	goal goal
	also []string
}

// alteredOptions are those of the setup that corrects it.
var alteredOptions = SetupOptions{Ledger: "mine", TakeOver: true}

func newAltered(t *testing.T, also []string) *altered {
	t.Helper()
	n := localtest.NATS(t)
	gate := newGate()
	b := connect(t, Config{URL: n.URL(), Gate: gate})
	b.ForLedger(alteredOptions.Ledger)
	g, err := b.goal(t.Context(), alteredOptions)
	if err != nil {
		t.Fatal(err)
	}
	return &altered{t, b, admin(t, n), gate, g, also}
}

// wrongs returns the lines that are wrong, by name of the property.
func (r *altered) wrongs(of string) map[string]PropertyState {
	r.t.Helper()
	lines, err := r.b.Check(r.t.Context(), alteredOptions)
	if err != nil {
		r.t.Fatal(err)
	}
	wrong := map[string]PropertyState{}
	for _, l := range lines {
		if !l.Right && l.Of == of {
			wrong[l.Property] = l
		}
	}
	return wrong
}

// check sees that setup's check, a running worker, and setup do what the table
// says about the property.
func (r *altered) check(of, name string) {
	r.t.Helper()
	before := r.wrongs(of)
	line, isWrong := before[name]
	for other := range before {
		if other != name && !slices.Contains(r.also, other) {
			r.t.Errorf("%s is wrong, too: %+v", other, before[other])
		}
	}
	r.b.inspect(r.t.Context())
	r.b.seen.mu.Lock()
	notice := r.b.seen.notice
	r.b.seen.mu.Unlock()
	r.gate.mu.Lock()
	stopped := r.gate.reasons[causeStreams]
	r.gate.mu.Unlock()
	reported := map[string]string{string(warns): notice, string(stops): stopped}
	if want := name + " is " + line.Found; isWrong && !strings.Contains(reported[line.Worker], want) {
		r.t.Errorf("a worker %s and says %q; want it to name %q", line.Worker, reported, want)
	} else if !isWrong && notice+stopped != "" {
		r.t.Errorf("a worker says %q; want nothing", reported)
	}

	report, err := r.b.Setup(r.t.Context(), alteredOptions)
	after := r.wrongs(of)
	refused := 0
	for _, l := range before {
		named := err != nil && strings.Contains(err.Error(), l.Property+" is "+l.Found)
		_, still := after[l.Property]
		switch {
		case l.Setup == string(refuses):
			refused++
			if !named || !still {
				r.t.Errorf("Setup = %v, %s still wrong: %t; want it refused", err, l.Property, still)
			}
		case still && line.Setup != string(refuses): // with one that is refused the server may want it so
			r.t.Errorf("Setup = %v; want %s corrected: %+v", err, l.Property, report)
		}
	}
	if (err != nil) != (refused > 0) {
		r.t.Errorf("Setup = %v; want an error only for what is refused", err)
	}
	if !isWrong && strings.Contains(actions(report), "updated") {
		r.t.Errorf("Setup: %+v; want %s left", report, name)
	}
	if len(report.Parts) < 4 {
		r.t.Errorf("Setup: %+v; want all parts looked at", report)
	}
	if refused > 0 {
		return
	}
	r.b.inspect(r.t.Context())
	if notice := r.b.Notice(); notice != "" {
		r.t.Errorf("after setup a worker says %q; want nothing", notice)
	}
	r.gate.opened(r.t)
}

// TestEveryLineIsAltered keeps the alterations complete.
func TestEveryLineIsAltered(t *testing.T) {
	t.Parallel()
	done := map[string]bool{}
	for _, a := range alteredStreams {
		for _, letter := range strings.ReplaceAll(a.of, "*", "CEL") {
			done[streamOfLetter[letter]+"/"+a.name] = true
		}
	}
	for _, a := range alteredConsumers {
		done[conversation.WorkerConsumer+"/"+a.name] = true
	}
	want := func(of []string, name string, right bool) {
		for _, one := range of {
			if right && !done[one+"/"+name] && name != "num_replicas" {
				t.Errorf("%s/%s isn't altered by any test", one, name)
			}
		}
	}
	for _, p := range streamProperties {
		want(p.of, p.name, p.setup != leaves && p.setup != sets)
	}
	for _, p := range consumerProperties {
		want(p.of, p.name, p.setup != leaves)
	}
}

var updatePage = flag.Bool("update", false, "write the table of properties into docs/operations.md")

// rows are the table's lines for people: one for all properties that differ in the name
// alone, and none for those that setup leaves. The reason stands in what the program reports.
func rows[C any](table []property[C]) (lines []string) {
	var merged [][2]string // the names, and what stands around them
	for _, p := range table {
		if p.setup == leaves {
			continue
		}
		of := map[string]string{
			conversation.CommandsStream: "commands", conversation.EventsStream: "events",
			conversation.DeadLettersStream: "dead letters", conversation.WorkerConsumer: "consumer",
		}[p.of[0]]
		switch len(p.of) {
		case 2:
			of = "events, dead letters"
		case 3:
			of = "all streams"
		}
		name := "`" + p.name + "`"
		does := string(p.setup)
		if p.run != ignores {
			does += ", " + string(p.run)
		}
		line := fmt.Sprintf("| %s | %%s | %s | %s |", of, p.want, does)
		if i := slices.IndexFunc(merged, func(m [2]string) bool { return m[1] == line }); i >= 0 {
			merged[i][0] += ", " + name
			continue
		}
		merged = append(merged, [2]string{name, line})
	}
	for _, m := range merged {
		lines = append(lines, strings.Replace(m[1], "%s", m[0], 1))
	}
	return lines
}

func TestTheOperationsPageHasTheTable(t *testing.T) {
	t.Parallel()
	const page, end = "../../docs/operations.md", "<!-- end -->\n"
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, _ := strings.Cut(string(data), "TestTheOperationsPageHasTheTable -update -->\n")
	have, after, found := strings.Cut(rest, end)
	if !found {
		t.Fatalf("%s has no marker for the table", page)
	}
	want := "\n| of | property | right | setup, worker |\n| --- | --- | --- | --- |\n" +
		strings.Join(append(rows(streamProperties), rows(consumerProperties)...), "\n") + "\n\n"
	if *updatePage {
		text := before + "TestTheOperationsPageHasTheTable -update -->\n" + want + end + after
		if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if have != want {
		t.Errorf("%s has another table than properties.go: write it anew with -update", page)
	}
}
