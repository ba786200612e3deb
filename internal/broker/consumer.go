package broker

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lethe-im/lethe/conversation"
)

// consumerPlan is the workers' consumer as it is created. MaxDeliver is
// unlimited: what it used up would stay in the stream, unseen by anybody; the
// worker itself decides when to give up. There is no back-off: it would replace
// AckWait and bend the delays that the worker asks for.
func consumerPlan(ackWait time.Duration) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       conversation.WorkerConsumer,
		Description:   "Shared by all workers",
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       or(ackWait, defaultAckWait),
		MaxDeliver:    -1,
		ReplayPolicy:  jetstream.ReplayInstantPolicy,
		MaxAckPending: maxAckPending,
	}
}

// upgradeConsumer returns the existing consumer's configuration as workers need
// it, and what had to be changed. ackWait is 0 where it isn't configured.
func upgradeConsumer(have jetstream.ConsumerConfig, ackWait time.Duration) (jetstream.ConsumerConfig, []string, error) {
	fixed := func(what string) error {
		return fmt.Errorf("consumer %s has %s, which can't be changed: delete it and run `worker setup` again; no command is lost", commandsConsumer, what)
	}
	switch { // a work queue has no consumer with another ack or deliver policy
	case have.DeliverSubject != "":
		return have, nil, fixed("a subject that it pushes to")
	case have.ReplayPolicy != jetstream.ReplayInstantPolicy:
		return have, nil, fixed("the replay policy original")
	}
	var c changes
	if len(have.BackOff) > 0 {
		c.made = append(c.made, fmt.Sprintf("back-off: none, was %v", have.BackOff))
		have.BackOff = nil
		have.AckWait = or(ackWait, defaultAckWait) // it showed the back-off's first
	}
	if have.FilterSubject != "" || len(have.FilterSubjects) > 0 {
		c.made = append(c.made, fmt.Sprintf("filter: none, was %s%v", have.FilterSubject, have.FilterSubjects))
		have.FilterSubject, have.FilterSubjects = "", nil
	}
	set(&c, "max deliver", &have.MaxDeliver, -1)
	set(&c, "headers only", &have.HeadersOnly, false)
	set(&c, "inactive threshold", &have.InactiveThreshold, 0)
	set(&c, "max request batch", &have.MaxRequestBatch, 0)
	set(&c, "max request expires", &have.MaxRequestExpires, 0)
	set(&c, "max request max bytes", &have.MaxRequestMaxBytes, 0)
	if have.PriorityPolicy != jetstream.PriorityPolicyNone {
		set(&c, "priority policy", &have.PriorityPolicy, jetstream.PriorityPolicyNone)
		have.PriorityGroups, have.PinnedTTL = nil, 0
	}
	option(&c, "ack wait", &have.AckWait, ackWait)
	return have, c.made, nil
}
