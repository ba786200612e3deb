package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/lethe-im/lethe/conversation"
)

const (
	// crowdSize is how many users a busy producer makes at a time.
	crowdSize = 50
	// senders is how many commands it has under way at once.
	senders = 10
)

// mix is what a busy producer asks for. Each tenth command names a second
// conversation, which nobody knows, and each twentieth is published twice.
type mix struct {
	messages int // of each conversation
	long     int // messages of one long conversation in each fourth crowd; 0 for none
	ahead    int // deletions that may wait at once
}

// busy is a producer that gives workers more to do as soon as they have done it,
// with conversations that it makes for that.
type busy struct {
	r      *rig
	name   string // begins its users' ids
	mix    mix
	halt   context.CancelFunc
	ended  chan struct{}
	failed error // only after ended

	mu       sync.Mutex // guards what follows
	before   int        // events that there were before it began, or that others cause
	commands int
	twice    int // deletions of commands that were published twice
	want     map[deletionKey]int
}

// busyProducer starts producing until stop is called or the test ends.
func (r *rig) busyProducer(t testing.TB, name string, m mix) *busy {
	t.Helper()
	before, err := r.storedEvents(t.Context())
	must(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	halted, halt := context.WithCancel(ctx)
	p := &busy{r: r, name: name, mix: m, before: before, halt: halt, ended: make(chan struct{}), want: map[deletionKey]int{}}
	go func() {
		defer close(p.ended)
		p.failed = p.run(ctx, halted)
	}()
	t.Cleanup(func() {
		cancel()
		<-p.ended
	})
	return p
}

// run makes crowds and asks for their deletion, until it is halted. What it has
// begun it finishes.
func (p *busy) run(ctx, halted context.Context) error {
	for n := 0; p.awaitRoom(halted); n++ {
		long := 0
		if n%4 == 0 {
			long = p.mix.long
		}
		cmds, err := p.crowd(ctx, fmt.Sprintf("%s-%d-", p.name, n), long)
		if err != nil {
			return err
		}
		if err := p.publish(ctx, cmds); err != nil {
			return err
		}
	}
	return nil
}

// awaitRoom waits until there is room for more, and reports whether there is.
func (p *busy) awaitRoom(halted context.Context) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for halted.Err() == nil {
		if p.hasRoom(halted) {
			return true
		}
		select {
		case <-tick.C:
		case <-halted.Done():
		}
	}
	return false
}

// hasRoom reports whether fewer deletions wait than may. The stream of events is that of
// all shards, so that a shard's commands count.
func (p *busy) hasRoom(ctx context.Context) bool {
	if p.r.names.Shard() == "" {
		done, err := p.r.storedEvents(ctx)
		return err == nil && p.asked()-done < p.mix.ahead
	}
	stream, err := p.r.js.Stream(ctx, p.r.names.CommandsStream())
	return err == nil && int(stream.CachedInfo().State.Msgs) < p.mix.ahead
}

// storedEvents is how many events the stream has. In a cluster without a leader
// there is no answer.
func (r *rig) storedEvents(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	stream, err := r.js.Stream(ctx, conversation.EventsStream)
	if err != nil {
		return 0, err
	}
	return int(stream.CachedInfo().State.Msgs), nil
}

// asked is how many events there will be of all that was asked for so far.
func (p *busy) asked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.before + len(p.want)
}

// alsoExpect notes that there will be n events of what others ask for.
func (p *busy) alsoExpect(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before += n
}

// crowd makes users with conversations, one of them long if long isn't 0, and the
// commands for them.
func (p *busy) crowd(ctx context.Context, prefix string, long int) ([]conversation.Command, error) {
	var cmds []conversation.Command
	fill := func(prefix string, n, messages int) error {
		if _, err := p.r.db.Exec(ctx, crowdSQL, "demo", prefix, n, messages); err != nil {
			return fmt.Errorf("fill %s: %w", prefix, err)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		for i := range n {
			cmd := chat{"demo", fmt.Sprint(prefix, i), "g"}.ask()
			p.want[deletionKey{cmd.CommandID, "g"}] = messages
			if i%10 == 9 {
				cmd.Conversations = append(cmd.Conversations, conversation.Target{ID: "unknown"})
				p.want[deletionKey{cmd.CommandID, "unknown"}] = 0
			}
			cmds = append(cmds, cmd)
		}
		p.commands += n
		return nil
	}
	if long > 0 {
		if err := fill(prefix+"long", 1, long); err != nil {
			return nil, err
		}
	}
	err := fill(prefix, crowdSize, p.mix.messages)
	return cmds, err
}

// publish stores the commands, some at a time, and each twentieth twice.
func (p *busy) publish(ctx context.Context, cmds []conversation.Command) error {
	queue := make(chan func() error, 2*len(cmds))
	for i, cmd := range cmds {
		queue <- func() error { return p.send(ctx, cmd) }
		if i%20 == 19 {
			queue <- func() error { return p.sendAgain(ctx, cmd) }
		}
	}
	close(queue)
	var all sync.WaitGroup
	errs := make([]error, senders)
	for i := range errs {
		all.Go(func() {
			for send := range queue {
				if errs[i] = send(); errs[i] != nil {
					return
				}
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// send stores a command as a good producer does: again, where it is in doubt.
func (p *busy) send(ctx context.Context, cmd conversation.Command) error {
	return untilStored(ctx, func(ctx context.Context) error {
		_, err := p.r.client.Delete(ctx, cmd)
		return err
	})
}

// sendAgain stores it once more.
func (p *busy) sendAgain(ctx context.Context, cmd conversation.Command) error {
	data, err := json.Marshal(cmd)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.twice += len(cmd.Conversations)
	p.mu.Unlock()
	return untilStored(ctx, func(ctx context.Context) error {
		_, err := p.r.js.Publish(ctx, p.r.names.CommandSubject(cmd.AppID), data)
		return err
	})
}

// untilStored tries again and again, for some time.
func untilStored(ctx context.Context, store func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		try, done := context.WithTimeout(ctx, 2*time.Second)
		err := store(try)
		done()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("not stored: %w", err)
		}
	}
}

// flows asserts that work goes on: what was asked for before this moment may be
// done by those who had it in flight, so more than that must come to be told.
func (p *busy) flows(t testing.TB) {
	t.Helper()
	more := p.asked() + p.mix.ahead/2
	eventually(t, timeout, "the work goes on", func() bool {
		select {
		case <-p.ended:
			t.Fatalf("the producer ended: %v", p.failed)
		default:
		}
		done, err := p.r.storedEvents(t.Context())
		return err == nil && done >= more
	})
}

// stop ends the producing and waits until all that was asked for is done. It
// returns how many commands that were, and the messages of each deletion.
func (p *busy) stop(t testing.TB) (commands int, want map[deletionKey]int) {
	t.Helper()
	p.halt()
	<-p.ended
	if p.failed != nil {
		t.Fatalf("the producer: %v", p.failed)
	}
	p.r.settledWithin(t, 2*timeout)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.commands, maps.Clone(p.want)
}
