package broker

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
)

// remedy is what setup does about a property that isn't right.
type remedy string

const (
	// fixes: setup sets the right value.
	fixes remedy = "fixes"
	// refuses: setup does the rest, reports what the operator has to do, and fails.
	// For values that no update can change, and those that someone must have chosen.
	refuses remedy = "refuses"
	// sets: setup sets what a flag asks for, and leaves the value without the flag.
	sets remedy = "sets"
	// leaves: every value is right, so that an operator may choose one.
	leaves remedy = "leaves"
)

// notice is what a running worker does about a property that isn't right. It
// inspects them every inspectEvery.
type notice string

const (
	// warns: the worker continues, and says so in /readyz, log and metrics.
	warns notice = "warns"
	// stops: the worker takes no more commands and isn't ready until the property
	// is right: to go on would lose commands or messages, or nothing would come.
	stops notice = "stops"
	// ignores: every value is right.
	ignores notice = "-"
)

// property is one line of the table of what streams and consumer have to be: for
// setup, for its --check, for a running worker, and for docs/operations.md. C is
// the configuration's type.
type property[C any] struct {
	of    []string // streams, or the consumer; see isOf
	name  string   // as NATS writes it in JSON
	want  string   // the right value, for people
	setup remedy
	run   notice
	why   string // what another value does
	// right sets the right value, and changes nothing where there is one already.
	// Lines are applied in order, each on what those before it have made. It
	// replaces slices and what pointers point to, and writes to neither. Nil sets
	// the zero value; with leaves it isn't called.
	right func(*C, goal)
}

// isOf reports whether the line is about the stream or consumer of that name. A shard's
// stream of commands has the lines of every stream of commands.
func (p property[C]) isOf(name string, n conversation.Names) bool {
	switch {
	case n.IsCommandsStream(name):
		name = conversation.CommandsStream
	case name == n.WorkerConsumer():
		name = conversation.WorkerConsumer
	default:
		name = strings.TrimPrefix(name, n.Stream(""))
	}
	return slices.Contains(p.of, name)
}

// goal is what the right values depend on.
type goal struct {
	SetupOptions
	names conversation.Names
	// maxCommand is the largest command that the server takes, in bytes.
	maxCommand int32
	// stored is the size of the stream, in bytes.
	stored uint64
	// ackWait is the configured one; 0 for none.
	ackWait time.Duration
	now     time.Time
	// running: it is a running worker that compares. It accepts a stream that an older setup has made.
	running bool
}

// The streams that a line is about.
var (
	commandsOnly = []string{conversation.CommandsStream}
	eventsOnly   = []string{conversation.EventsStream}
	lettersOnly  = []string{conversation.DeadLettersStream}
	notCommands  = []string{conversation.EventsStream, conversation.DeadLettersStream}
	allStreams   = []string{conversation.CommandsStream, conversation.EventsStream, conversation.DeadLettersStream}
	theConsumer  = []string{conversation.WorkerConsumer}
)

// anyValue is the want of lines that leave the property to the operator.
const anyValue = "any"

type (
	streamConfig   = jetstream.StreamConfig
	consumerConfig = jetstream.ConsumerConfig
)

// streamProperties has a line for each property of each stream that nats-server
// knows, but for the name.
var streamProperties = []property[streamConfig]{
	{
		allStreams, "subjects", "those of the contract, and any others", fixes, warns, "messages published on a missing one aren't stored",
		func(c *streamConfig, g goal) { c.Subjects = mergeSubjects(c.Subjects, subjectsOf(g.names, c.Name)) },
	},
	{
		commandsOnly, "retention", "workqueue", refuses, warns, "finished commands would stay, or commands be removed before a worker has seen them",
		func(c *streamConfig, _ goal) { c.Retention = jetstream.WorkQueuePolicy },
	},
	{
		notCommands, "retention", "limits, where it is workqueue", refuses, warns, "the first reader removes a message for all others",
		func(c *streamConfig, _ goal) {
			if c.Retention == jetstream.WorkQueuePolicy {
				c.Retention = jetstream.LimitsPolicy
			}
		},
	},
	{
		notCommands, "retention", "limits, where it is interest", fixes, warns, "messages stored without a reader are removed",
		func(c *streamConfig, _ goal) {
			if c.Retention == jetstream.InterestPolicy {
				c.Retention = jetstream.LimitsPolicy
			}
		},
	},
	{
		allStreams, "storage", "file", refuses, warns, "a restart of the server loses all messages",
		func(c *streamConfig, _ goal) { c.Storage = jetstream.FileStorage },
	},
	{
		allStreams, "discard", "new", fixes, warns, "a full stream would drop its oldest messages, finished or not",
		func(c *streamConfig, _ goal) { c.Discard = jetstream.DiscardNew },
	},
	{
		allStreams, "num_replicas", "any; --stream-replicas", sets, ignores, "one replica is lost with its server",
		func(c *streamConfig, g goal) { c.Replicas = or(g.Replicas, c.Replicas) },
	},
	{allStreams, "mirror", "none", refuses, stops, "nothing can be published to a mirror", nil},
	{
		commandsOnly, "sources", "none, or streams of this account", refuses, stops,
		"when another account's stream stored a command can't be read, and messages sent after the user's delete would be deleted",
		func(c *streamConfig, _ goal) {
			if slices.ContainsFunc(c.Sources, external) {
				c.Sources = slices.DeleteFunc(slices.Clone(c.Sources), external)
			}
		},
	},
	{
		commandsOnly, "sources", "each with opt_start_seq", fixes, warns,
		"a source that is added to a stream in use would skip what waits in the other stream",
		func(c *streamConfig, _ goal) {
			for i, s := range c.Sources {
				if s.OptStartSeq == 0 {
					exact := *s
					exact.OptStartSeq, exact.OptStartTime = 1, nil
					c.Sources = slices.Clone(c.Sources)
					c.Sources[i] = &exact
				}
			}
		},
	},
	{notCommands, "sources", anyValue, leaves, ignores, "", nil},
	{allStreams, "sealed", "false", refuses, warns, "nothing can be stored or removed", nil},
	{allStreams, "no_ack", "false", fixes, warns, "publishers get no acknowledgement", nil},

	{
		commandsOnly, "max_bytes", "any; --commands-max-bytes", sets, ignores, "a full stream refuses producers",
		func(c *streamConfig, g goal) { c.MaxBytes = or(g.CommandsMaxBytes, c.MaxBytes) },
	},
	{
		eventsOnly, "max_bytes", "any; --events-max-bytes", sets, ignores, "a full stream stops the workers",
		func(c *streamConfig, g goal) { c.MaxBytes = or(g.EventsMaxBytes, c.MaxBytes) },
	},
	{
		lettersOnly, "max_bytes", "8 MiB or more, not unlimited; --dead-letters-max-bytes", fixes, warns,
		"without a limit one producer's malformed commands fill the disk",
		func(c *streamConfig, g goal) {
			c.MaxBytes = or(g.DeadLettersMaxBytes, c.MaxBytes)
			if c.MaxBytes <= 0 { // twice what there is: half of it stays for commands that can be retried
				c.MaxBytes = max(defaultLettersBytes, 2*int64(g.stored))
			}
			c.MaxBytes = max(c.MaxBytes, minLettersBytes)
		},
	},
	{allStreams, "max_msgs", anyValue, leaves, ignores, "a limit like max_bytes", nil},
	{
		commandsOnly, "max_msgs_per_subject", "any; --commands-max-per-app", sets, ignores, "without a limit one app's commands can fill the stream",
		func(c *streamConfig, g goal) {
			if g.CommandsMaxPerApp != nil {
				c.MaxMsgsPerSubject = or(*g.CommandsMaxPerApp, -1)
			}
		},
	},
	{
		eventsOnly, "max_msgs_per_subject", "100,000 or more", fixes, warns, "a user's events are removed before a device that was away has read them",
		func(c *streamConfig, _ goal) { c.MaxMsgsPerSubject = max(c.MaxMsgsPerSubject, eventsPerSubject) },
	},
	{
		lettersOnly, "max_msgs_per_subject", "unlimited", fixes, warns, "an app's new dead letters would push out its old ones",
		func(c *streamConfig, _ goal) { c.MaxMsgsPerSubject = -1 },
	},
	{
		commandsOnly, "discard_new_per_subject", "true with a limit per subject", fixes, warns, "an app's new commands would push out its old ones",
		func(c *streamConfig, _ goal) { c.DiscardNewPerSubject = c.MaxMsgsPerSubject > 0 },
	},
	{notCommands, "discard_new_per_subject", "false", fixes, warns, "a user whose subject is full would stop the workers", nil},
	{commandsOnly, "max_age", "unlimited", fixes, warns, "commands would be removed before a worker has finished them", nil},
	{
		eventsOnly, "max_age", "any; --events-max-age", sets, ignores, "how long a device may be away",
		func(c *streamConfig, g goal) { c.MaxAge = or(g.EventsMaxAge, c.MaxAge) },
	},
	{lettersOnly, "max_age", anyValue, leaves, ignores, "how long an operator may take", nil},
	{
		commandsOnly, "max_msg_size", "900,000 bytes to max_payload less 64 KiB", fixes, warns,
		"a larger command has no room for its dead letter, a smaller limit refuses commands that the contract allows",
		func(c *streamConfig, g goal) {
			if c.MaxMsgSize < minCommand || c.MaxMsgSize > g.maxCommand {
				c.MaxMsgSize = g.maxCommand
			}
		},
	},
	{
		notCommands, "max_msg_size", "unlimited", fixes, warns, "the workers would wait forever with a larger event or dead letter",
		func(c *streamConfig, _ goal) { c.MaxMsgSize = -1 },
	},
	{commandsOnly, "max_consumers", anyValue, leaves, ignores, "a work queue has no second one", nil},
	{
		eventsOnly, "max_consumers", "a number", fixes, warns, "nats-server allows no more than 1,000 then, and each relay needs one",
		func(c *streamConfig, _ goal) {
			if c.MaxConsumers <= 0 {
				c.MaxConsumers = eventsConsumers
			}
		},
	},
	{lettersOnly, "max_consumers", anyValue, leaves, ignores, "", nil},
	{
		commandsOnly, "duplicate_window", "100ms, the server's minimum", fixes, warns, "an app can make the stream drop another app's command by its Nats-Msg-Id",
		func(c *streamConfig, _ goal) { c.Duplicates = commandsWindow },
	},
	{
		notCommands, "duplicate_window", "1h or more, or max_age if that is less", fixes, warns, "a repeated publish would be stored twice",
		func(c *streamConfig, _ goal) {
			if c.MaxAge > 0 {
				c.Duplicates = min(c.Duplicates, c.MaxAge) // the server wouldn't take it
				c.Duplicates = max(c.Duplicates, min(eventsWindow, c.MaxAge))
				return
			}
			c.Duplicates = max(c.Duplicates, eventsWindow)
		},
	},
	{commandsOnly, "allow_direct", anyValue, leaves, ignores, "", nil},
	{
		notCommands, "allow_direct", "true", fixes, warns, "devices, worker replay and worker dead-letters read by direct get",
		func(c *streamConfig, _ goal) { c.AllowDirect = true },
	},
	{allStreams, "mirror_direct", anyValue, leaves, ignores, "", nil},
	{
		commandsOnly, "consumer_limits", "none, or max_ack_pending 200,000 or more", fixes, warns,
		"the server would bound the workers' consumer, or remove it while no worker runs",
		func(c *streamConfig, _ goal) {
			c.ConsumerLimits.InactiveThreshold = 0
			if c.ConsumerLimits.MaxAckPending < maxAckPending {
				c.ConsumerLimits.MaxAckPending = 0
			}
		},
	},
	{notCommands, "consumer_limits", anyValue, leaves, ignores, "", nil},

	{allStreams, "deny_purge", anyValue, leaves, ignores, "", nil},
	{commandsOnly, "deny_delete", anyValue, leaves, ignores, "acknowledged commands are removed regardless", nil},
	{eventsOnly, "deny_delete", anyValue, leaves, ignores, "", nil},
	{lettersOnly, "deny_delete", "false", refuses, warns, "worker dead-letters can't remove letters, and retries them again", nil},
	{allStreams, "allow_rollup_hdrs", "false", fixes, warns, "a producer can erase all messages by the header Nats-Rollup", nil},
	{commandsOnly, "allow_msg_ttl", "false", refuses, warns, "a command with the header Nats-TTL is removed before a worker has seen it", nil},
	{notCommands, "allow_msg_ttl", anyValue, leaves, ignores, "workers alone publish there, and never with Nats-TTL", nil},
	{allStreams, "subject_delete_marker_ttl", "none", fixes, warns, "the server would store messages of its own, which are no commands, events or dead letters", nil},
	{allStreams, "allow_msg_counter", "false", refuses, warns, "only counters could be published", nil},
	{allStreams, "allow_msg_schedules", "false", refuses, warns, "it excludes discard new, and by Nats-Schedule a producer makes the server publish for it", nil},
	{allStreams, "allow_atomic", anyValue, leaves, ignores, "", nil},
	{allStreams, "allow_batched", anyValue, leaves, ignores, "", nil},
	{
		allStreams, "persist_mode", "default", refuses, warns, "acknowledged messages may be lost in a crash of the server",
		func(c *streamConfig, _ goal) { c.PersistMode = jetstream.DefaultPersistMode },
	},
	{allStreams, "subject_transform", "none", refuses, stops, "messages would be stored on other subjects than they are published on, such as another app's", nil},
	{allStreams, "republish", anyValue, leaves, ignores, "", nil},
	{allStreams, "description", anyValue, leaves, ignores, "", nil},
	{
		commandsOnly, "metadata", ledgerKey + " of this database, or none", fixes, stops,
		"it was set up for another database, whose commands find nothing here and would be reported as deleted",
		func(c *streamConfig, g goal) {
			of := c.Metadata[ledgerKey]
			if g.Ledger == "" || of == g.Ledger || of == "" && g.running {
				return
			}
			c.Metadata = maps.Clone(c.Metadata)
			if c.Metadata == nil {
				c.Metadata = map[string]string{}
			}
			c.Metadata[ledgerKey] = g.Ledger
		},
	},
	{notCommands, "metadata", anyValue, leaves, ignores, "", nil},
	{allStreams, "placement", anyValue, leaves, ignores, "", nil},
	{allStreams, "compression", anyValue, leaves, ignores, "", nil},
	{allStreams, "first_seq", anyValue, leaves, ignores, "", nil},
	{allStreams, "template_owner", anyValue, leaves, ignores, "", nil},
}

func external(s *jetstream.StreamSource) bool { return s.External != nil }

// consumerProperties is the same for the workers' consumer.
var consumerProperties = []property[consumerConfig]{
	{
		theConsumer, "durable_name", "its name", refuses, warns, "the server would remove it while no worker runs",
		func(c *consumerConfig, g goal) { c.Durable = g.names.WorkerConsumer() },
	},
	{theConsumer, "deliver_subject", "none", refuses, stops, "workers pull", nil},
	{theConsumer, "deliver_group", "none", refuses, warns, "only for push consumers", nil},
	{theConsumer, "flow_control", "false", refuses, warns, "only for push consumers", nil},
	{theConsumer, "idle_heartbeat", "none", refuses, warns, "only for push consumers", nil},
	{theConsumer, "rate_limit_bps", "none", refuses, warns, "only for push consumers", nil},
	{
		theConsumer, "ack_policy", "explicit", refuses, stops, "acknowledging one command would acknowledge others",
		func(c *consumerConfig, _ goal) { c.AckPolicy = jetstream.AckExplicitPolicy },
	},
	{
		theConsumer, "deliver_policy", "all", refuses, warns, "commands that waited before would never be delivered",
		func(c *consumerConfig, _ goal) { c.DeliverPolicy = jetstream.DeliverAllPolicy },
	},
	{theConsumer, "opt_start_seq", "none", refuses, warns, "commands before it would never be delivered", nil},
	{theConsumer, "opt_start_time", "none", refuses, warns, "commands before it would never be delivered", nil},
	{
		theConsumer, "replay_policy", "instant", refuses, warns, "commands would be delivered at the rate at which they were published",
		func(c *consumerConfig, _ goal) { c.ReplayPolicy = jetstream.ReplayInstantPolicy },
	},
	{
		theConsumer, "pause_until", "none", fixes, stops, "no command is delivered until then; use worker pause, which setup leaves",
		func(c *consumerConfig, g goal) {
			if c.PauseUntil != nil && c.PauseUntil.After(g.now) {
				c.PauseUntil = nil
			}
		},
	},
	{theConsumer, "headers_only", "false", fixes, stops, "commands would be delivered without bodies, and be given up as malformed", nil},
	{theConsumer, "filter_subject", "none", fixes, stops, "commands on other subjects would never be delivered", nil},
	{theConsumer, "filter_subjects", "none", fixes, stops, "commands on other subjects would never be delivered", nil},
	{
		theConsumer, "max_ack_pending", "200,000 or more", fixes, warns, "no worker gets another command while so many are in flight or deferred",
		func(c *consumerConfig, _ goal) {
			if c.MaxAckPending >= 0 { // -1 is unlimited
				c.MaxAckPending = max(c.MaxAckPending, maxAckPending)
			}
		},
	},
	{
		theConsumer, "max_deliver", "unlimited", fixes, warns, "commands that have used up their deliveries stay in the stream, unseen by workers",
		func(c *consumerConfig, _ goal) { c.MaxDeliver = -1 },
	},
	{
		theConsumer, "backoff", "none", fixes, warns, "it replaces ack_wait, and changes the delays that workers ask for",
		func(c *consumerConfig, g goal) {
			if len(c.BackOff) > 0 {
				c.BackOff, c.AckWait = nil, or(g.ackWait, defaultAckWait) // ack_wait showed the first of it
			}
		},
	},
	{
		theConsumer, "ack_wait", "1s or more; --ack-wait", fixes, warns, "commands would be delivered to a second worker while the first is at work",
		func(c *consumerConfig, g goal) {
			switch {
			case g.ackWait > 0:
				c.AckWait = g.ackWait
			case c.AckWait < minAckWait:
				c.AckWait = defaultAckWait
			}
		},
	},
	{
		theConsumer, "max_waiting", "100 or more", refuses, warns, "requests of more workers than that would be refused",
		func(c *consumerConfig, _ goal) { c.MaxWaiting = max(c.MaxWaiting, minWaiting) },
	},
	{theConsumer, "max_batch", "unlimited", fixes, stops, "the workers' requests would be refused", nil},
	{theConsumer, "max_expires", "unlimited", fixes, stops, "the workers' requests would be refused", nil},
	{theConsumer, "max_bytes", "unlimited", fixes, stops, "the workers' requests would be refused", nil},
	{theConsumer, "inactive_threshold", "none", fixes, warns, "the server would remove it while no worker runs", nil},
	{theConsumer, "priority_policy", "none", fixes, stops, "the workers' requests would be refused, or wait for others'", nil},
	{theConsumer, "priority_groups", "none", fixes, stops, "the workers' requests would be refused", nil},
	{theConsumer, "priority_timeout", "none", fixes, warns, "only for priority groups", nil},
	{theConsumer, "num_replicas", anyValue, leaves, ignores, "the server keeps it at the stream's", nil},
	{theConsumer, "mem_storage", anyValue, leaves, ignores, "after a restart of the server commands in flight are delivered again", nil},
	{theConsumer, "sample_freq", anyValue, leaves, ignores, "", nil},
	{theConsumer, "description", anyValue, leaves, ignores, "", nil},
	{theConsumer, "metadata", anyValue, leaves, ignores, "", nil},
}

// deviation is a property that isn't right.
type deviation[C any] struct {
	property[C]
	was, becomes string
}

// compare returns which properties of the stream or consumer called of aren't
// right in have, and have with the right value of those that setup corrects.
func compare[C any](table []property[C], of string, have C, g goal) (corrected C, wrong []deviation[C]) {
	corrected = have
	for _, p := range table {
		if p.setup == leaves || !p.isOf(of, g.names) {
			continue
		}
		trial := corrected
		p.correct(&trial, g)
		before, after := fieldOf(&corrected, p.name), fieldOf(&trial, p.name)
		if same(before, after) {
			continue
		}
		wrong = append(wrong, deviation[C]{p, shown(before), shown(after)})
		if p.setup != refuses {
			corrected = trial
		}
	}
	return corrected, wrong
}

// correct sets the right value.
func (p property[C]) correct(c *C, g goal) {
	if p.right == nil {
		fieldOf(c, p.name).SetZero()
		return
	}
	p.right(c, g)
}

// fieldOf returns the field of a configuration that has the name in JSON.
func fieldOf(config any, name string) reflect.Value {
	v := reflect.ValueOf(config).Elem()
	for i := range v.NumField() {
		if tag, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ","); tag == name {
			return v.Field(i)
		}
	}
	panic("BUG: " + v.Type().Name() + " has no property " + name)
}

// same compares two values of one property. An empty list is none.
func same(a, b reflect.Value) bool {
	if a.Kind() == reflect.Slice && a.Len() == 0 && b.Len() == 0 {
		return true
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

// shown writes a property's value for people.
func shown(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case *time.Time:
		if x != nil {
			return x.UTC().Format(time.RFC3339)
		}
	case *jetstream.StreamSource:
		if x != nil {
			return x.Name
		}
	case []*jetstream.StreamSource:
		names := make([]string, len(x))
		for i, s := range x {
			names[i] = s.Name
		}
		return orNone(strings.Join(names, " "))
	case *jetstream.SubjectTransformConfig:
		if x != nil {
			return x.Source + " to " + x.Destination
		}
	case jetstream.StreamConsumerLimits:
		return fmt.Sprintf("inactive_threshold %v max_ack_pending %d", x.InactiveThreshold, x.MaxAckPending)
	case []string:
		return orNone(strings.Join(x, " "))
	case map[string]string: // without the server's own
		var entries []string
		for _, key := range slices.Sorted(maps.Keys(x)) {
			if !strings.HasPrefix(key, "_nats.") {
				entries = append(entries, key+" "+x[key])
			}
		}
		return orNone(strings.Join(entries, ", "))
	case time.Duration:
		return x.String()
	case json.Marshaler: // a policy
		if text, err := x.MarshalJSON(); err == nil {
			return strings.Trim(string(text), `"`)
		}
	}
	if v.Kind() == reflect.Pointer || v.Kind() == reflect.Slice && v.Len() == 0 {
		return "none"
	}
	return orNone(fmt.Sprint(v.Interface()))
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
