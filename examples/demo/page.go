package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/lethe-im/lethe/examples/chat/gateway"
)

// page is the demo for the browser: the stack, a worker, and the example chat
// with its page.
type page struct {
	addr string // where the page is served
}

// parsePage reads the flags of `demo page`; flag.ErrHelp where help was asked for.
func parsePage(args []string, stderr io.Writer) (page, error) {
	var p page
	flags := flag.NewFlagSet("demo page", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&p.addr, "addr", "127.0.0.1:8080", "where to serve the page; :8080 is for other machines too, and anybody there may be anybody")
	if err := flags.Parse(args); err != nil {
		return p, err
	}
	var err error
	if flags.NArg() > 0 {
		err = fmt.Errorf("unknown argument %q", flags.Arg(0))
	} else if _, _, splitErr := net.SplitHostPort(p.addr); splitErr != nil {
		err = fmt.Errorf("-addr %q: %w; expected host:port or :port", p.addr, splitErr)
	}
	if err != nil {
		fmt.Fprintln(stderr, "demo:", err)
	}
	return p, err
}

// show serves the page until the user stops it, which is no error, or a program
// ends without a request.
func (p page) show(out *printer, s *stack) error {
	out.title("lethe", "three devices of a chat in your browser, on real servers")
	if err := p.free(s.ctx); err != nil {
		return err
	}
	out.print("")
	if err := s.startServers(); err != nil {
		return err
	}
	for _, start := range []func(out *printer, s *stack) error{p.programs, p.samples} {
		if err := start(out, s); err != nil {
			return err
		}
	}
	out.print("")
	out.print("NATS is at " + s.nats.URL() + ", where programs of your own find the app " + app + ".") // examples/clients
	out.print("Open " + out.styled(bold, p.url()) + " and delete something. Ctrl-C stops it all.")
	<-s.ctx.Done()
	if err := context.Cause(s.ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	out.endLine()
	return p.stop(out, s)
}

// free fails where the address can't be had, before anything is started for it.
func (p page) free(ctx context.Context) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", p.addr)
	if err != nil {
		return fmt.Errorf("-addr %s can't be served, choose another such as -addr=127.0.0.1:8088: %w", p.addr, err)
	}
	return l.Close()
}

// url is what to open: an address of this machine, also where all are served.
func (p page) url() string {
	host, port, _ := net.SplitHostPort(p.addr) // parsePage has checked it
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return (&url.URL{Scheme: "http", Host: net.JoinHostPort(host, port), Path: "/"}).String()
}

// programs builds and starts the worker and the chat.
func (p page) programs(out *printer, s *stack) error {
	lap := time.Now()
	chat := filepath.Join(s.guard.folder, "chat")
	const building = "go build ./cmd/worker and ./examples/chat"
	if err := out.during(building, func() error { return errors.Join(s.build(), s.goBuild(chat, "examples/chat")) }); err != nil {
		return err
	}
	out.say(building, lasted(time.Since(lap)))
	if err := s.call("setup", "--sample-schema"); err != nil {
		return err
	}
	if err := s.startWorker(nil); err != nil {
		return err
	}
	out.say(fmt.Sprintf("worker run, as process %d", s.worker.cmd.Process.Pid))
	shared, err := s.startGroups()
	if err != nil {
		return err
	}
	out.say(fmt.Sprintf("worker run --shard=%s --plan=…, as process %d", gateway.GroupsShard, shared.worker.cmd.Process.Pid))
	// No context ends it: kill and stop do.
	cmd := exec.Command(chat, "all", "--demo", "--addr="+p.addr, "--app="+app, "--hosts="+p.name()) //nolint:noctx // see above
	cmd.Env = append(s.environment(), "CHAT_TOKEN_KEY="+rand.Text()+rand.Text(), "CHAT_SHARD_DATABASES="+gateway.GroupsShard+"="+shared.database)
	started, err := s.startProgram("the chat", p.localAddr(), cmd)
	if err != nil {
		return err
	}
	out.say(fmt.Sprintf("chat all --demo, as process %d", started.cmd.Process.Pid))
	return nil
}

// name is what other machines may call this one: the address's host, or the
// machine's name where all addresses are served.
func (p page) name() string {
	host, _, _ := net.SplitHostPort(p.addr) // parsePage has checked it
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		return host
	}
	if name, err := os.Hostname(); err == nil {
		return name
	}
	return "localhost"
}

// localAddr is an address at which the page is reached from this machine.
func (p page) localAddr() string {
	u, err := url.Parse(p.url())
	if err != nil {
		return p.addr
	}
	return u.Host
}

// stop ends the programs as a planned stop does; the servers end with the stack.
func (p page) stop(out *printer, s *stack) error {
	out.doing("stopping")
	var errs []error
	for i := len(s.programs) - 1; i >= 0; i-- {
		errs = append(errs, s.programs[i].stop())
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	out.print("Stopped. The servers and all that was written are gone.")
	return nil
}
