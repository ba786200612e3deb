package main

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// topCommand is `worker top`.
type topCommand struct {
	shardConfig
	natsConfig
	databaseConfig
	jsonConfig
	Once     bool          `name:"once" help:"Print once, after one interval, and end. Without a terminal that is so unless --json is given."`
	Interval time.Duration `name:"interval" placeholder:"DURATION" default:"2s" range:"500ms..1h" help:"How often to refresh, and over what time rates are measured."`
}

// Help is the long form of the subcommand's help.
func (c *topCommand) Help() string {
	return `Shows the commands that wait and are in flight, the deletions and erasures that aren't final, and which apps the commands are of,
until q or Ctrl-C. First come deletions that a worker has, then those that wait for something or have failed; the oldest first.
Small deletions take milliseconds and are rarely seen. DONE, RATE (messages) and LEFT are estimates by what has gone in the last interval, and
by seq. waiting is a deletion that is throttled, paused or blocked by a lock, and WAITING_FOR says by what; one without a user
erases a shared log. With --json it prints one object an interval, with the names of worker status.

    worker top
    worker top --once
    worker top --json | jq -c '[.waiting, .in_flight, .oldest_seconds]'
    worker top --once --json | jq -r '.deletions[] | select(.waiting_for) | .command_id'`
}

func (c *topCommand) check() problems {
	var p problems
	c.shardConfig.check(&p)
	c.natsConfig.check(&p)
	c.databaseConfig.check(&p)
	return p
}

func (c *topCommand) run(ctx context.Context, t terminal) error {
	source := &topSource{c: c}
	defer source.close()
	switch {
	case c.JSON && !c.Once:
		return c.stream(ctx, t, source)
	case !c.JSON && !c.Once && t.live():
		return c.refresh(ctx, t, source)
	}
	return c.once(ctx, t, source)
}

// once prints one overview. It needs two samples for rates.
func (c *topCommand) once(ctx context.Context, t terminal, source *topSource) error {
	o := source.sample(ctx)
	if o.err == nil {
		select {
		case <-time.After(c.Interval):
			o = source.sample(ctx)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	var err error
	if c.JSON {
		err = t.printJSON(o)
	} else {
		err = t.printf("%s\n", strings.Join(o.frame(0, 0), "\n"))
	}
	return errors.Join(err, o.err)
}

// stream prints an overview each interval until ctx ends.
func (c *topCommand) stream(ctx context.Context, t terminal, source *topSource) error {
	for o := source.sample(ctx); ctx.Err() == nil; o = source.sample(ctx) {
		if err := t.printJSON(o); err != nil {
			return err
		}
		select {
		case <-time.After(c.Interval):
		case <-ctx.Done():
		}
	}
	return nil
}

// refresh shows an overview on the terminal, and a new one each interval, until ctx ends or
// q is pressed. Any other key refreshes at once.
func (c *topCommand) refresh(ctx context.Context, t terminal, source *topSource) error {
	s, err := openScreen(t)
	if err != nil {
		return err
	}
	defer s.close()
	ctx, cancel := context.WithCancel(ctx)
	samples, again, ended := make(chan overview), make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(ended)
		c.sampleEach(ctx, source, samples, again)
	}()
	defer func() { cancel(); <-ended }()
	keys := s.keys(ctx)
	resized := time.NewTicker(200 * time.Millisecond)
	defer resized.Stop()
	last := overview{SampledAt: time.Now(), Shard: c.Shard, Notices: []string{"connecting"}}
	for {
		if err := s.draw(last); err != nil {
			return err
		}
		for drawn := true; drawn; {
			select {
			case last = <-samples:
				drawn = false
			case <-resized.C:
				drawn = !s.resized()
			case key := <-keys:
				if strings.ContainsRune("qQ\x03", rune(key)) { // Ctrl-C is a byte like others in raw mode
					return nil
				}
				select {
				case again <- struct{}{}:
				default:
				}
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// sampleEach samples each interval, and when again says so, until ctx ends.
func (c *topCommand) sampleEach(ctx context.Context, source *topSource, samples chan<- overview, again <-chan struct{}) {
	for {
		o := source.sample(ctx)
		select {
		case samples <- o:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(c.Interval):
		case <-again:
		case <-ctx.Done():
			return
		}
	}
}

// screen is a terminal while worker top has it: its alternate screen, without a cursor and
// without echo.
type screen struct {
	out           *os.File
	in            *os.File // nil where keys can't be read
	was           *term.State
	width, height int
}

// openScreen takes the terminal; close gives it back.
func openScreen(t terminal) (*screen, error) {
	s := &screen{out: t.out.(*os.File)} // as t.live has found
	if in, ok := t.in.(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		was, err := term.MakeRaw(int(in.Fd()))
		if err != nil {
			return nil, err
		}
		s.in, s.was = in, was
	}
	_, err := io.WriteString(s.out, "\x1b[?1049h\x1b[?25l")
	return s, err
}

func (s *screen) close() {
	_, _ = io.WriteString(s.out, "\x1b[?25h\x1b[?1049l") // a terminal that has gone needs no cursor
	if s.was != nil {
		_ = term.Restore(int(s.in.Fd()), s.was)
	}
}

// keys are what is pressed. The reading ends with the program.
func (s *screen) keys(ctx context.Context) <-chan byte {
	keys := make(chan byte)
	if s.in == nil {
		return keys
	}
	go func() {
		for buffer := make([]byte, 16); ; {
			n, err := s.in.Read(buffer)
			if err != nil {
				return
			}
			for _, key := range buffer[:n] {
				select {
				case keys <- key:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return keys
}

// resized reports whether the terminal has another size than the last frame.
func (s *screen) resized() bool {
	width, height := s.size()
	return width != s.width || height != s.height
}

// size is the terminal's, or a usual one where it doesn't say.
func (s *screen) size() (width, height int) {
	width, height, err := term.GetSize(int(s.out.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		return 80, 24
	}
	return width, height
}

// draw writes a frame over the one before, without a moment in which the screen is empty.
func (s *screen) draw(o overview) error {
	s.width, s.height = s.size()
	lines := o.frame(s.width, s.height)
	_, err := io.WriteString(s.out, "\x1b[H"+strings.Join(lines, "\x1b[K\r\n")+"\x1b[K\x1b[J")
	return err
}
