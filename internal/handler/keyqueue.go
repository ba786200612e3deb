package handler

import (
	"context"
	"slices"
	"sync"

	"github.com/lethe-im/lethe/internal/purge"
)

// maxKeys is how many shared logs a queue holds; what has no room is found again in the
// database.
const maxKeys = 10000

// keyQueue holds shared logs to work on, each once. Safe for concurrent use.
type keyQueue struct {
	filled chan struct{} // has an element while there may be keys

	mu   sync.Mutex // guards what follows
	keys []purge.Key
	held map[purge.Key]bool // those in keys
}

func newKeyQueue() *keyQueue {
	return &keyQueue{filled: make(chan struct{}, 1), held: map[purge.Key]bool{}}
}

// push adds keys that it doesn't hold yet, as long as there is room.
func (q *keyQueue) push(keys ...purge.Key) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, k := range keys {
		if !q.held[k] && len(q.keys) < maxKeys {
			q.held[k] = true
			q.keys = append(q.keys, k)
		}
	}
	q.signal()
}

// signal wakes a take. It is called with mu held.
func (q *keyQueue) signal() {
	if len(q.keys) == 0 {
		return
	}
	select {
	case q.filled <- struct{}{}:
	default:
	}
}

// take waits for keys and removes the oldest, at most limit; none when ctx ends before.
func (q *keyQueue) take(ctx context.Context, limit int) []purge.Key {
	for {
		select {
		case <-q.filled:
		case <-ctx.Done():
			return nil
		}
		if taken := q.first(limit); len(taken) > 0 {
			return taken
		}
	}
}

// first removes the oldest keys, at most limit.
func (q *keyQueue) first(limit int) []purge.Key {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(limit, len(q.keys))
	taken := slices.Clone(q.keys[:n])
	q.keys = slices.Delete(q.keys, 0, n)
	for _, k := range taken {
		delete(q.held, k)
	}
	q.signal()
	return taken
}
