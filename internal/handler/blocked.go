package handler

import (
	"context"
	"sync"
	"time"

	"github.com/lethe-im/lethe/internal/purge"
)

const (
	// blockedTimeout bounds what is written and asked about a blocked deletion.
	blockedTimeout = 2 * time.Second
	// blockedEvery is the shortest time between two lines of the log about blocked
	// deletions, and how long the answer to who blocks is reused: one lock may be in
	// the way of thousands.
	blockedEvery = time.Second
)

// blocked knows who last blocked deletions. Safe for concurrent use.
type blocked struct {
	mu     sync.Mutex // guards what follows; held while the database is asked
	asked  time.Time
	holder string // for people; "" if it isn't known
}

// by returns who most likely blocks, and whether the database was asked now.
func (b *blocked) by(ctx context.Context, ask func(context.Context) string) (holder string, news bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if news = time.Since(b.asked) >= blockedEvery; news {
		b.holder, b.asked = ask(ctx), time.Now()
	}
	return b.holder, news
}

// releaseBlocked is release for a deletion that another transaction's lock blocks:
// the ledger and the log say so, and who that is where it is known.
func (h *Handler) releaseBlocked(t *task, low int64) {
	ctx, cancel := context.WithTimeout(h.working, blockedTimeout)
	defer cancel()
	holder, news := h.blocked.by(ctx, h.cfg.Store.Blocker)
	detail := ""
	if holder != "" {
		detail = "oldest transaction with locks on these tables: " + holder
	}
	if news {
		h.cfg.Log.Warn("deletion waits for a lock", append(t.attrs(), "waiting_for", purge.Lock, "waiting_detail", detail)...)
	}
	if err := h.cfg.Store.Release(ctx, t.d, low, purge.Lock, detail); err != nil {
		h.cfg.Log.Warn("lease not released; it expires by itself", append(t.attrs(), "error", err)...)
	}
}
