package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lethe-im/lethe/internal/broker"
	"github.com/lethe-im/lethe/internal/bus"
	"github.com/lethe-im/lethe/internal/purge"
	"github.com/lethe-im/lethe/internal/repo"
)

const (
	// topDeletions and topApps are how many an overview has at most.
	topDeletions, topApps = 100, 20
	// topTimeout ends a sample of a server that doesn't answer.
	topTimeout = 5 * time.Second
	// fullPercent is from where a stream counts as nearly full.
	fullPercent = 80
)

// overview is what an operator wants to see at one moment, for programs. What couldn't be read
// is absent, and Problems says why.
type overview struct {
	SampledAt time.Time `json:"sampled_at"`
	Shard     string    `json:"shard,omitempty"`
	// Commands are in the stream; Waiting and InFlight, as far as a worker has them, are known
	// of the consumer.
	Commands *uint64 `json:"commands,omitempty"`
	Waiting  *uint64 `json:"waiting,omitempty"`
	InFlight *uint64 `json:"in_flight,omitempty"`
	// Pulling says that workers ask for commands, or are full.
	Pulling       *bool    `json:"pulling,omitempty"`
	OldestSeconds *float64 `json:"oldest_seconds,omitempty"`
	// DeadLetters are all shards'.
	DeadLetters *uint64 `json:"dead_letters,omitempty"`
	// Unfinished deletions are counted up to repo.MaxUnfinished.
	Unfinished *int          `json:"unfinished,omitempty"`
	Running    *int          `json:"running,omitempty"`
	Paused     []topPause    `json:"paused"`
	Deletions  []topDeletion `json:"deletions"`
	// AppCount is how many apps have commands, Apps are those with the most.
	AppCount int      `json:"app_count"`
	Apps     []topApp `json:"apps"`
	Notices  []string `json:"notices,omitempty"`
	Problems []string `json:"problems,omitempty"`

	err error // the problems
}

// topPause is a lane that an operator has paused.
type topPause struct {
	Lane  string    `json:"lane"`
	Since time.Time `json:"since"`
}

// topApp is an app's unfinished commands; of no app those whose subject names none.
type topApp struct {
	AppID    string `json:"app_id,omitempty"`
	Commands uint64 `json:"commands"`
}

// topDeletion is an unfinished deletion, or without command and user the erasure of a shared log.
type topDeletion struct {
	deletion
	Erasure  bool      `json:"erasure,omitempty"`
	Lane     string    `json:"lane"`
	StoredAt time.Time `json:"stored_at"`
	// LeaseSeconds is how long the worker's lease lasts; less than 0 if it has died.
	LeaseSeconds *float64 `json:"lease_seconds,omitempty"`
	// Percent and SecondsLeft are estimates; MessagesPerSecond is that of the last interval.
	Percent           *int     `json:"percent,omitempty"`
	MessagesPerSecond *float64 `json:"messages_per_second,omitempty"`
	SecondsLeft       *float64 `json:"seconds_left,omitempty"`
}

// topSource takes the samples. It isn't safe for concurrent use.
type topSource struct {
	c      *topCommand
	ledger *repo.Ledger
	nats   *broker.Broker
	shard  string // of nats
	marks  map[purge.Key]topMark
}

func (s *topSource) close() {
	if s.ledger != nil {
		s.ledger.Close()
	}
	if s.nats != nil {
		_ = s.nats.Close() // nothing is on its way
	}
}

// sample takes one. If one of the servers is unavailable it has what the other one says.
func (s *topSource) sample(ctx context.Context) overview {
	o := overview{SampledAt: time.Now().UTC(), Paused: []topPause{}, Deletions: []topDeletion{}, Apps: []topApp{}}
	for _, part := range []struct {
		of   string
		read func(context.Context, *overview) error
	}{{"Postgres", s.readLedger}, {"NATS", s.readNATS}} {
		limited, cancel := context.WithTimeout(ctx, topTimeout)
		if err := part.read(limited, &o); err != nil {
			err = fmt.Errorf("%s: %w", part.of, err)
			o.Problems, o.err = append(o.Problems, err.Error()), errors.Join(o.err, err)
		}
		cancel()
	}
	o.Shard = s.c.Shard
	o.Notices = o.notices()
	return o
}

// readLedger reads the deletions. It is the first, since the database knows the shard.
func (s *topSource) readLedger(ctx context.Context, o *overview) (err error) {
	if s.ledger == nil {
		if s.ledger, err = s.c.openLedger(ctx, s.c.DatabaseURL); err != nil {
			return err
		}
	}
	work, err := s.ledger.Work(ctx, topDeletions)
	if err != nil {
		return err
	}
	o.Unfinished, o.Running = &work.Unfinished, &work.Running
	for _, p := range work.Pauses {
		o.Paused = append(o.Paused, topPause{string(p.Lane), p.Since.UTC()})
	}
	marks := make(map[purge.Key]topMark, len(work.Deletions))
	for _, u := range work.Deletions {
		d := topDeletion{deletion: deletionOf(u.Record), Erasure: u.Erasure(), Lane: "express", StoredAt: u.StoredAt.UTC()}
		if d.Erasure || d.MessagesDeleted > 0 { // what the express lane has begun and not finished
			d.Lane = string(purge.LongLane)
		}
		if u.State == purge.Running {
			d.LeaseSeconds = new(u.LeaseLeft.Seconds())
		}
		was, known := s.marks[u.Key]
		marks[u.Key] = d.estimate(was, known, work.At)
		o.Deletions = append(o.Deletions, d)
	}
	s.marks = marks
	return nil
}

// readNATS reads the backlog.
func (s *topSource) readNATS(ctx context.Context, o *overview) (err error) {
	if s.nats != nil && s.shard != s.c.Shard { // which the database says only now
		_ = s.nats.Close()
		s.nats = nil
	}
	if s.nats == nil {
		cfg := s.c.brokerConfig("lethe-top")
		cfg.Names = cfg.Names.InShard(s.c.shard())
		if s.nats, err = broker.Connect(context.WithoutCancel(ctx), cfg); err != nil {
			return err
		}
		s.shard = s.c.Shard
	}
	found, err := s.nats.Backlog(ctx)
	if len(found.Streams) == 0 {
		return err
	}
	commands, letters := found.Streams[0], found.Streams[len(found.Streams)-1]
	o.Commands, o.DeadLetters, o.OldestSeconds = &commands.Messages, &letters.Messages, new(found.Oldest.Seconds())
	if err == nil {
		o.Waiting, o.InFlight, o.Pulling = &found.Waiting, &found.InFlight, new(found.Pulls+found.InFlight > 0)
	}
	o.Notices = streamNotices(found)
	apps, appsErr := s.nats.AppBacklogs(ctx)
	o.AppCount = len(apps)
	for _, a := range apps[:min(len(apps), topApps)] {
		o.Apps = append(o.Apps, topApp{a.App, a.Commands})
	}
	return errors.Join(err, appsErr)
}

// streamNotices are what is wrong with the streams.
func streamNotices(b bus.Backlog) (notices []string) {
	if b.Stuck > 0 {
		notices = append(notices, fmt.Sprintf("%s in the stream that no worker will see: run `worker setup --check`", purge.Count(int(b.Stuck), "command"))) //nolint:gosec // a count
	}
	for _, s := range b.Streams {
		if s.MaxBytes > 0 && s.Bytes > uint64(s.MaxBytes)/100*fullPercent {
			notices = append(notices, fmt.Sprintf("stream %s is %d %% full", s.Name, percent(int64(s.Bytes), s.MaxBytes))) //nolint:gosec // less than MaxBytes
		}
	}
	return notices
}

// notices are those of the streams, and before them why commands wait.
func (o *overview) notices() []string {
	var all []string
	paused := false
	for _, p := range o.Paused {
		all = append(all, fmt.Sprintf("lane %s is paused since %s: `worker resume` ends that", p.Lane, stamp(p.Since)))
		paused = paused || p.Lane == string(purge.AllLanes)
	}
	if o.Pulling != nil && !*o.Pulling && !paused {
		all = append(all, "no worker pulls commands: see its log, or /readyz")
	}
	return append(all, o.Notices...)
}

// topMark is where a deletion was at a time.
type topMark struct {
	at              time.Time
	deleted, cursor int64
	// density is how many messages there are to a seq, as far as batches have shown it; 0 where
	// none has been seen.
	density float64
}

// offset is from where positions don't begin near 1: microseconds and ids that contain a time.
const offset = 1_000_000_000_000_000

// estimate fills in the deletion's rate, and how far it has come, by what has changed since
// the mark was, if that is known. It returns the mark of this moment.
func (d *topDeletion) estimate(was topMark, known bool, at time.Time) topMark {
	now := topMark{at: at, deleted: d.MessagesDeleted, cursor: d.CursorSeq, density: was.density}
	seconds := at.Sub(was.at).Seconds()
	messages, seqs := float64(now.deleted-was.deleted), float64(now.cursor-was.cursor)
	known = known && seconds > 0 && messages >= 0 && seqs >= 0 // an erasure may have begun anew
	if known {
		d.MessagesPerSecond = new(messages / seconds)
	}
	if known && messages > 0 && seqs > 0 {
		now.density = messages / seqs
	}
	if d.ThroughSeq == nil || *d.ThroughSeq <= 0 {
		return now
	}
	through := *d.ThroughSeq
	left := float64(max(0, through-d.CursorSeq))
	switch {
	case d.CursorSeq <= 0:
		d.Percent = new(0)
	case now.density > 0:
		gone := float64(now.deleted)
		d.Percent = new(percent(now.deleted, int64(gone+left*now.density)))
	case through < offset:
		d.Percent = new(percent(d.CursorSeq, through))
	}
	if known && seqs > 0 {
		d.SecondsLeft = new(left / (seqs / seconds))
	}
	return now
}
