package localstack

import (
	"io"
	"sync"
)

// tailSize is how much of a server's log an error quotes, in bytes.
const tailSize = 2 << 10

// tail keeps the end of what is written to it and passes everything on. Safe for
// concurrent use.
type tail struct {
	next io.Writer // nil: nowhere

	mu   sync.Mutex // guards last and the use of next
	last []byte
}

// Write never fails: a server must not stop because its log has nowhere to go.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, b...)
	if excess := len(t.last) - tailSize; excess > 0 {
		t.last = append(t.last[:0], t.last[excess:]...)
	}
	if t.next != nil {
		_, _ = t.next.Write(b)
	}
	return len(b), nil
}

// String is the end of the log.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.last)
}
