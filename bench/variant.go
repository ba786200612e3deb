package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// variant is lethe with other settings or another binary: one more contestant,
// which takes part wherever lethe does.
type variant struct {
	Name contestant `json:"name"`
	// Worker is another binary than the one that is measured, such as an older one.
	Worker string `json:"worker,omitempty"`
	// Flags are those of `worker run`.
	Flags []string `json:"flags,omitempty"`
	// Limits are words of LETHE_TEST_LIMITS, such as batch-size=64.
	Limits []string `json:"limits,omitempty"`
	// Server are settings of Postgres that hold for this contestant's trials.
	Server map[string]string `json:"server,omitempty"`
	// Table are storage parameters of chat.messages, set before it is filled.
	Table map[string]string `json:"table,omitempty"`
	// Indexes are columns of chat.messages that have an index of their own.
	Indexes []string `json:"indexes,omitempty"`
	// AckPending is how many commands the consumer hands out that aren't settled;
	// 0 for as many as worker setup says.
	AckPending int `json:"ack_pending,omitempty"`
	// NATSSync makes nats-server sync each write before it confirms it.
	NATSSync bool `json:"nats_sync,omitempty"`
}

// variantWords is what a word of --variant may be.
const variantWords = "--flag=value, worker=PROGRAM, limit.NAME=VALUE, pg.NAME=VALUE, table.NAME=VALUE, index.COLUMN, nats.max_ack_pending=N or nats.sync"

// parseVariant reads "name: word word …", of variantWords.
func parseVariant(text string) (variant, error) {
	name, rest, ok := strings.Cut(text, ":")
	v := variant{Name: contestant(strings.TrimSpace(name)), Server: map[string]string{}, Table: map[string]string{}}
	switch {
	case !ok || v.Name == "" || strings.TrimSpace(rest) == "":
		return v, fmt.Errorf(`--variant is %q; expected "name: --flag=value …"`, text)
	case slices.Contains(allContestants, v.Name):
		return v, fmt.Errorf("--variant is named %q, as a contestant is", v.Name)
	}
	for word := range strings.FieldsSeq(rest) {
		if err := v.take(word); err != nil {
			return v, err
		}
	}
	return v, nil
}

// take reads one word.
func (v *variant) take(word string) error {
	key, value, assigned := strings.Cut(word, "=")
	group, name, _ := strings.Cut(key, ".")
	switch {
	case strings.HasPrefix(word, "--"):
		v.Flags = append(v.Flags, word)
	case key == "worker" && value != "":
		v.Worker = value
	case group == "limit" && assigned:
		v.Limits = append(v.Limits, name+"="+value)
	case word == "nats.sync":
		v.NATSSync = true
	case key == "nats.max_ack_pending" && assigned:
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 {
			return fmt.Errorf("--variant %s has %q; expected a number from 1", v.Name, word)
		}
		v.AckPending = n
	case group == "index" && name != "" && !assigned:
		v.Indexes = append(v.Indexes, name)
	case group == "pg" && assigned:
		v.Server[name] = value
	case group == "table" && assigned:
		v.Table[name] = value
	default:
		return fmt.Errorf("--variant %s has %q; expected %s", v.Name, word, variantWords)
	}
	return nil
}

// isLethe is whether it is the worker, with whatever settings.
func (o options) isLethe(who contestant) bool {
	return who == lethe || slices.ContainsFunc(o.Variants, func(v variant) bool { return v.Name == who })
}

// isWorker says whether a contestant is a process that takes commands.
func (o options) isWorker(who contestant) bool { return who == plain || o.isLethe(who) }

// variant is what is set for a contestant: nothing for all but variants.
func (o options) variant(who contestant) variant {
	i := slices.IndexFunc(o.Variants, func(v variant) bool { return v.Name == who })
	if i < 0 {
		return variant{Name: who}
	}
	return o.Variants[i]
}

// everybody are all contestants there are, in the order of the table.
func (o options) everybody() []contestant {
	all := slices.Clone(allContestants)
	for i, v := range o.Variants {
		all = slices.Insert(all, 1+i, v.Name)
	}
	return all
}

// words are what parseVariant reads after the name.
func (v variant) words() []string {
	all := slices.Clone(v.Flags)
	if v.Worker != "" {
		all = append(all, "worker="+v.Worker)
	}
	for _, limit := range v.Limits {
		all = append(all, "limit."+limit)
	}
	for _, setting := range assignments(v.Server) {
		all = append(all, "pg."+setting)
	}
	for _, setting := range assignments(v.Table) {
		all = append(all, "table."+setting)
	}
	for _, column := range v.Indexes {
		all = append(all, "index."+column)
	}
	if v.AckPending > 0 {
		all = append(all, "nats.max_ack_pending="+strconv.Itoa(v.AckPending))
	}
	if v.NATSSync {
		all = append(all, "nats.sync")
	}
	return all
}

// tableKey tells apart the databases that variants ask for.
func (v variant) tableKey() string {
	return strings.Join(slices.Concat([]string{v.Worker}, assignments(v.Table), v.Indexes), " ")
}

// assignments are name=value, in order.
func assignments(settings map[string]string) []string {
	all := make([]string, 0, len(settings))
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		all = append(all, name+"="+settings[name])
	}
	return all
}
