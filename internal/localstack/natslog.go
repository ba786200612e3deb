package localstack

import (
	"errors"
	"fmt"
	"sync"
)

// natsLog keeps what stopped a server from starting and drops the rest: a test's
// output is not the place for it. Its methods are those of server.Logger. Safe for
// concurrent use.
type natsLog struct {
	mu     sync.Mutex // guards fatals
	fatals []error
}

// Fatalf keeps the message. The server means to exit after it; here it just isn't
// ready.
func (l *natsLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fatals = append(l.fatals, fmt.Errorf(format, v...))
}

// fatal is what Fatalf was told so far.
func (l *natsLog) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.fatals...)
}

// Noticef drops the message.
func (*natsLog) Noticef(string, ...any) {}

// Warnf drops the message.
func (*natsLog) Warnf(string, ...any) {}

// Errorf drops the message.
func (*natsLog) Errorf(string, ...any) {}

// Debugf drops the message.
func (*natsLog) Debugf(string, ...any) {}

// Tracef drops the message.
func (*natsLog) Tracef(string, ...any) {}
