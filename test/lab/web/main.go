// Command web is the walkthrough's web server: it says hello with its host name, which is the pod's, so that a client
// sees which pod answered. It also tells the client's address, streams, echoes UDP, and stops the way a good server
// does. It reads no file and calls nobody.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "web:", err)
		os.Exit(1)
	}
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func run(ctx context.Context, args []string) error {
	var listen list
	fs := flag.NewFlagSet("web", flag.ContinueOnError)
	fs.Var(&listen, "listen", "address for HTTP and for UDP echo, IPv4 and IPv6 when it names no host; repeatable (default :8080)")
	delay := fs.Duration("shutdown-delay", 0, "after SIGTERM, how long to go on serving while /healthz says 503, like a terminating endpoint that still serves")
	grace := fs.Duration("shutdown-timeout", 30*time.Second, "after that delay, how long open requests may take")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if len(listen) == 0 {
		listen = list{":8080"}
	}
	hostname, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("read the host name: %w", err)
	}
	s := newServer(hostname)
	for _, addr := range listen {
		if err := s.listen(ctx, addr); err != nil {
			return errors.Join(err, s.close())
		}
		fmt.Printf("%s listens on %s, TCP and UDP\n", hostname, addr)
	}
	return s.serve(ctx, func() <-chan time.Time { return time.After(*delay) }, *grace)
}
