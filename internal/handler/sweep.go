package handler

import (
	"context"
	"sync"

	"github.com/lethe-im/lethe/internal/purge"
)

// sweeper walks behind the batches of one long deletion, on a connection of its
// own, so that the proof that nothing is left doesn't have to visit each deleted
// row in the finishing transaction. It is a help, not a part of the proof: its
// errors cost time only. It keeps its distance: until a batch's commit is on the
// disk, which no batch waits for, Postgres marks none of its rows as gone for
// good, and a walk over them is for nothing.
type sweeper struct {
	store longStore
	d     purge.Deletion
	ctx   context.Context
	end   context.CancelFunc
	done  sync.WaitGroup

	mu    sync.Mutex // guards what follows
	moved *sync.Cond
	highs []int64 // the ends of the batches that are not swept, ascending
	swept int64   // where the sweeper is
	last  bool    // no batch follows, and all are on the disk
	ended bool
}

// atOnce is how many batches the sweeper may take together when it has fallen
// behind: it is more than that many times as fast as they are.
const atOnce = 4

// distance is how many batches stay between the sweeper and the one under way:
// the log is flushed with the second megabyte after them, or 0.2 s later.
const distance = 2

func startSweeper(h *Handler, d purge.Deletion) *sweeper {
	ctx, cancel := context.WithCancel(h.stopping)
	s := &sweeper{store: h.cfg.Store, d: d, ctx: ctx, end: cancel}
	s.moved = sync.NewCond(&s.mu)
	s.done.Go(s.run)
	return s
}

// follow tells the sweeper how far the batches have come.
func (s *sweeper) follow(low int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.highs); low > s.swept && (n == 0 || low > s.highs[n-1]) {
		s.highs = append(s.highs, low)
		s.moved.Broadcast()
	}
}

// catchUp waits until everything has been swept, or the sweeper has ended. All
// batches must be on the disk.
func (s *sweeper) catchUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = true
	defer func() { s.last = false }()
	s.moved.Broadcast()
	for len(s.highs) > 0 && !s.ended {
		s.moved.Wait()
	}
}

// stop ends the sweeper and waits for it.
func (s *sweeper) stop() {
	s.end()
	s.mu.Lock()
	s.ended = true
	s.moved.Broadcast()
	s.mu.Unlock()
	s.done.Wait()
}

func (s *sweeper) run() {
	for {
		low, high, n := s.next()
		if n == 0 {
			return
		}
		err := s.store.Sweep(s.ctx, s.d, low, high)
		s.mu.Lock()
		s.swept, s.highs = high, s.highs[n:]
		s.ended = s.ended || err != nil
		s.moved.Broadcast()
		s.mu.Unlock()
	}
}

// ready is how many batches may be swept.
func (s *sweeper) ready() int {
	if s.last {
		return len(s.highs)
	}
	return max(0, len(s.highs)-distance)
}

// next waits for batches to sweep and returns their range and how many they
// are; none once the sweeper has ended.
func (s *sweeper) next() (low, high int64, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.ready() == 0 && !s.ended {
		s.moved.Wait()
	}
	if s.ended {
		return 0, 0, 0
	}
	n = min(atOnce, s.ready())
	return s.swept, s.highs[n-1], n
}
