package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// ledgerKey is where in the metadata of the commands' stream the id of the ledger stands for which it is
// set up. Workers of another database would find nothing and report it as deleted.
const ledgerKey = "lethe_ledger"

const (
	// takeOverQuiet is how long nobody may have pulled commands before another database takes them over.
	// Between two requests a worker has none for some milliseconds; after half of this it inspects the stream
	// before it asks again.
	takeOverQuiet = pullWait
	// takeOverWait is how long to wait for that: the request of a worker that was killed stays for pullWait.
	takeOverWait = pullWait + takeOverQuiet + 300*time.Millisecond
	takeOverPoll = 50 * time.Millisecond
)

// mayTakeOver returns an error if the update would take a stream of commands over from another ledger whose
// workers pull from it, or if nobody has asked for that.
func (b *Broker) mayTakeOver(ctx context.Context, have, config streamConfig, asked bool) error {
	of := have.Metadata[ledgerKey]
	if of == "" || of == config.Metadata[ledgerKey] {
		return nil
	}
	err := fmt.Errorf("stream %s is %w: it was set up for another database, with the ledger %s: set --subject-prefix for this installation", have.Name, errOthers, of)
	if !asked {
		return fmt.Errorf("%w, or run `worker setup` with this database to take the streams over", err)
	}
	pulled, failure := b.pulled(ctx)
	if pulled && failure == nil {
		failure = fmt.Errorf("%w, or stop the workers that pull from it, and run `worker setup` again to take the streams over", err)
	}
	return failure
}

// pulled reports whether workers pull commands, after it has watched for as long as it takes to know.
func (b *Broker) pulled(ctx context.Context) (bool, error) {
	tick := time.NewTicker(takeOverPoll)
	defer tick.Stop()
	began, quiet := time.Now(), time.Now()
	var last pulling
	for {
		info, err := b.consumerInfo(ctx)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		now := pulling{info.Delivered.Consumer, info.AckFloor.Consumer, info.NumAckPending}
		if info.NumWaiting > 0 || last != now {
			quiet = time.Now()
		}
		last = now
		switch {
		case time.Since(quiet) >= takeOverQuiet:
			return false, nil
		case time.Since(began) >= takeOverWait:
			return true, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// pulling is what moves while commands are delivered and acknowledged.
type pulling struct {
	delivered, acknowledged uint64
	pending                 int
}
