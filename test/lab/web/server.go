package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"
)

// streamEvery is the pace of /stream: a client notices a broken connection within about this time.
const streamEvery = 100 * time.Millisecond

type server struct {
	hostname string
	http     *http.Server
	tcp      []net.Listener
	udp      []net.PacketConn
	stopping atomic.Bool
	// stop is closed when serving ends, so that streams end with a whole line instead of a reset.
	stop chan struct{}
}

func newServer(hostname string) *server {
	s := &server{hostname: hostname, stop: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.hello)
	mux.HandleFunc("GET /client", s.client)
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /stream", s.stream)
	s.http = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	return s
}

// portAttempts is how often a port is asked for that is free for TCP and for UDP.
const portAttempts = 10

// listen opens TCP and UDP on one address; the second takes the first one's port when the address leaves it open. Somebody may have that for UDP:
// then another one is asked for.
func (s *server) listen(ctx context.Context, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", addr, err)
	}
	var lc net.ListenConfig
	for attempts := 1; ; attempts++ {
		l, err := lc.Listen(ctx, "tcp", addr)
		if err != nil {
			return fmt.Errorf("listen on TCP %s: %w", addr, err)
		}
		_, same, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			return errors.Join(fmt.Errorf("listen on UDP %s: %w", addr, err), l.Close())
		}
		p, err := lc.ListenPacket(ctx, "udp", net.JoinHostPort(host, same))
		if err == nil {
			s.tcp, s.udp = append(s.tcp, l), append(s.udp, p)
			return nil
		}
		err = errors.Join(fmt.Errorf("listen on UDP %s: %w", addr, err), l.Close())
		if port != "0" && port != "" || !errors.Is(err, syscall.EADDRINUSE) || attempts == portAttempts {
			return err
		}
	}
}

func (s *server) close() error {
	errs := make([]error, 0, len(s.tcp)+len(s.udp))
	for _, l := range s.tcp {
		errs = append(errs, l.Close())
	}
	for _, p := range s.udp {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// serve answers until ctx ends, then goes on until delay, which it calls then, delivers, while it reports itself unready, then ends what is open
// within grace.
func (s *server) serve(ctx context.Context, delay func() <-chan time.Time, grace time.Duration) error {
	results := make(chan error, len(s.tcp)+len(s.udp))
	for _, l := range s.tcp {
		go func() { results <- s.http.Serve(l) }()
	}
	for _, p := range s.udp {
		go func() { results <- echo(p) }()
	}
	var failed error
	open := cap(results)
	select {
	case <-ctx.Done():
		s.stopping.Store(true)
		select {
		case <-delay():
		case failed = <-results:
			open--
		}
	case failed = <-results:
		open--
	}
	close(s.stop)
	until, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	errs := []error{failed, s.http.Shutdown(until)}
	for _, p := range s.udp {
		errs = append(errs, p.Close())
	}
	for range open {
		if err := <-results; !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (s *server) hello(w http.ResponseWriter, _ *http.Request) {
	say(w, "Hello World!\n"+s.hostname+"\n")
}

// say writes an answer; that the client has gone meanwhile is the client's business.
func say(w http.ResponseWriter, text string) {
	_, _ = w.Write([]byte(text))
}

// client tells the source address as the pod sees it: kube-proxy may have changed it.
func (s *server) client(w http.ResponseWriter, r *http.Request) {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		http.Error(w, fmt.Sprintf("the client's address %q cannot be read: %v", r.RemoteAddr, err), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	answer := map[string]any{"address": from.Addr().Unmap(), "port": from.Port(), "hostname": s.hostname}
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		fmt.Println("answer /client:", err)
	}
}

func (s *server) healthz(w http.ResponseWriter, _ *http.Request) {
	if s.stopping.Load() {
		http.Error(w, "stopping", http.StatusServiceUnavailable)
		return
	}
	say(w, "ok\n")
}

// stream sends one numbered line after the other until the client goes or serving ends; the last line is "end".
func (s *server) stream(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	tick := time.NewTicker(streamEvery)
	defer tick.Stop()
	for n := 1; ; n++ {
		if _, err := fmt.Fprintf(w, "%d %s\n", n, s.hostname); err != nil {
			return // the client has gone; nobody is left to tell
		}
		if err := rc.Flush(); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		case <-s.stop:
			say(w, "end\n")
			return
		}
	}
}

// echo sends each datagram back where it came from until the socket closes.
func echo(p net.PacketConn) error {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := p.ReadFrom(buf)
		if err != nil {
			return fmt.Errorf("read UDP on %s: %w", p.LocalAddr(), err)
		}
		if _, err := p.WriteTo(buf[:n], from); err != nil && !errors.Is(err, net.ErrClosed) {
			fmt.Printf("echo to %s: %v\n", from, err)
		}
	}
}
