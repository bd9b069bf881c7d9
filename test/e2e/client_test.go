package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ndp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// get fetches a path from an address as the LAN's client does: a new connection each time.
func get(ctx context.Context, addr netip.Addr, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+netip.AddrPortFrom(addr, 80).String()+path, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := lanClient.HTTPClient(0).Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("GET %s: %s", req.URL, resp.Status)
	}
	return string(body), nil
}

// answeringPod is the name of the pod that answers at an address.
func answeringPod(ctx context.Context, addr netip.Addr) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	body, err := get(ctx, addr, "/")
	if err != nil {
		return "", err
	}
	greeting, pod, ok := strings.Cut(strings.TrimSpace(body), "\n")
	if !ok || greeting != "Hello World!" {
		return "", fmt.Errorf("unexpected answer from %s: %q", addr, body)
	}
	return pod, nil
}

// answeringPods asks an address until the wanted number of pods have answered, a failure comes, or n requests were made.
func answeringPods(ctx context.Context, addr netip.Addr, want, n int) (map[string]int, error) {
	pods := map[string]int{}
	for range n {
		pod, err := answeringPod(ctx, addr)
		if err != nil {
			return pods, err
		}
		pods[pod]++
		if len(pods) == want {
			break
		}
	}
	return pods, nil
}

// echo sends a datagram to port 80 of an address and returns what comes back.
func echo(ctx context.Context, addr netip.Addr, message string) (string, error) {
	conn, err := lanClient.Dial(ctx, "udp", netip.AddrPortFrom(addr, 80).String())
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte(message)); err != nil {
		return "", err
	}
	answer := make([]byte, 2*len(message))
	n, err := conn.Read(answer)
	return string(answer[:n]), err
}

// claims asks the LAN, once, who has an address and returns the hardware addresses of all who answer within the given time.
func claims(addr netip.Addr, wait time.Duration) ([]string, error) {
	var macs []string
	err := lanClient.Do(func() error {
		ifi, err := net.InterfaceByName(lanClient.Interface())
		if err != nil {
			return err
		}
		if addr.Is4() {
			macs, err = arpClaims(ifi, addr, wait)
		} else {
			macs, err = ndpClaims(ifi, addr, wait)
		}
		return err
	})
	slices.Sort(macs)
	return slices.Compact(macs), err
}

func arpClaims(ifi *net.Interface, addr netip.Addr, wait time.Duration) ([]string, error) {
	c, err := arp.Dial(ifi)
	if err != nil {
		return nil, fmt.Errorf("open ARP socket: %w", err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(wait)); err != nil {
		return nil, err
	}
	if err := c.Request(addr); err != nil {
		return nil, fmt.Errorf("ask who has %s: %w", addr, err)
	}
	var macs []string
	for {
		p, _, err := c.Read()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return macs, nil
		case err != nil:
			return nil, fmt.Errorf("read ARP: %w", err)
		case p.Operation == arp.OperationReply && p.SenderIP == addr && bytes.Equal(p.TargetHardwareAddr, ifi.HardwareAddr):
			macs = append(macs, p.SenderHardwareAddr.String())
		}
	}
}

func ndpClaims(ifi *net.Interface, addr netip.Addr, wait time.Duration) ([]string, error) {
	c, _, err := ndp.Listen(ifi, ndp.LinkLocal)
	if err != nil {
		return nil, fmt.Errorf("open NDP socket: %w", err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(wait)); err != nil {
		return nil, err
	}
	group, err := ndp.SolicitedNodeMulticast(addr)
	if err != nil {
		return nil, err
	}
	solicitation := &ndp.NeighborSolicitation{
		TargetAddress: addr,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: ifi.HardwareAddr}},
	}
	if err := c.WriteTo(solicitation, nil, group); err != nil {
		return nil, fmt.Errorf("solicit %s: %w", addr, err)
	}
	var macs []string
	for {
		m, _, _, err := c.ReadFrom()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return macs, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read NDP: %w", err)
		}
		na, ok := m.(*ndp.NeighborAdvertisement)
		if !ok || na.TargetAddress != addr || !na.Solicited {
			continue
		}
		for _, o := range na.Options {
			if lla, ok := o.(*ndp.LinkLayerAddress); ok && lla.Direction == ndp.Target {
				macs = append(macs, lla.Addr.String())
			}
		}
	}
}

// watchMoves notes at which instants the client's neighbour cache gets another hardware address for addr, until stop.
func watchMoves(addr netip.Addr) (stop func() []time.Time, err error) {
	ns, err := netns.GetFromPath(filepath.Join("/run/netns", lanClient.Namespace()))
	if err != nil {
		return nil, fmt.Errorf("open the client's network namespace: %w", err)
	}
	updates, done := make(chan netlink.NeighUpdate, 256), make(chan struct{})
	err = netlink.NeighSubscribeWithOptions(updates, done, netlink.NeighSubscribeOptions{Namespace: &ns, ListExisting: true})
	if err := errors.Join(err, ns.Close()); err != nil {
		return nil, fmt.Errorf("watch the client's neighbours: %w", err)
	}
	result := make(chan []time.Time, 1)
	go func() {
		var last string
		var moves []time.Time
		for u := range updates { // closed after done
			ip, ok := netip.AddrFromSlice(u.IP)
			if !ok || ip.Unmap() != addr || len(u.HardwareAddr) == 0 {
				continue
			}
			if mac := u.HardwareAddr.String(); mac != last {
				if last != "" {
					moves = append(moves, time.Now())
				}
				last = mac
			}
		}
		result <- moves
	}()
	return func() []time.Time { close(done); return <-result }, nil
}

// load opens a connection from the client to an address every interval, and records how each went.
type load struct {
	cancel    context.CancelFunc
	stopped   chan struct{}
	stopMoves func() []time.Time

	mu       sync.Mutex // guards what follows
	attempts []attempt
}

type attempt struct {
	start, end time.Time
	err        error
}

// during reports whether the attempt was under way at an instant, which was noted a little late.
func (a attempt) during(t time.Time) bool {
	const late = 50 * time.Millisecond
	return a.start.Before(t) && a.end.After(t.Add(-late))
}

// startLoad begins; every connection may take at most timeout.
func startLoad(addr netip.Addr, interval, timeout time.Duration) (*load, error) {
	stopMoves, err := watchMoves(addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel, stopped: make(chan struct{}), stopMoves: stopMoves}
	go func() {
		defer close(l.stopped)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		var running sync.WaitGroup
		defer running.Wait()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			running.Go(func() {
				start := time.Now()
				// Not ctx: a connection that is under way when the load ends is still counted for what it becomes.
				one, done := context.WithTimeout(context.Background(), timeout)
				defer done()
				_, err := get(one, addr, "/")
				l.mu.Lock()
				defer l.mu.Unlock()
				l.attempts = append(l.attempts, attempt{start: start, end: time.Now(), err: err})
			})
		}
	}()
	return l, nil
}

// succeeded is the number of connections that were answered so far.
func (l *load) succeeded() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, a := range l.attempts {
		if a.err == nil {
			n++
		}
	}
	return n
}

// result of a load.
type result struct {
	attempts int
	// failures of new connections.
	failures []error
	// caught are connections that were under way when the client began to send to another node, whose kube-proxy does not know
	// them and resets them.
	caught int
	// moves is how often the client began to send to another node.
	moves int
	// slowest of the connections that were answered.
	slowest time.Duration
	// longestGap between the starts of two connections that succeeded with only failures between them; 0 when none failed.
	longestGap time.Duration
}

// stop ends the load and waits for the connections under way.
func (l *load) stop() result {
	l.cancel()
	<-l.stopped
	moves := l.stopMoves()
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.SortFunc(l.attempts, func(a, b attempt) int { return a.start.Compare(b.start) })
	r := result{attempts: len(l.attempts), moves: len(moves)}
	var lastGood time.Time
	failing := false
	for _, a := range l.attempts {
		if a.err != nil && errors.Is(a.err, unix.ECONNRESET) && slices.ContainsFunc(moves, a.during) {
			r.caught++
			continue
		}
		if a.err != nil {
			r.failures = append(r.failures, a.err)
			failing = true
			continue
		}
		if failing && !lastGood.IsZero() {
			r.longestGap = max(r.longestGap, a.start.Sub(lastGood))
		}
		lastGood, failing = a.start, false
		r.slowest = max(r.slowest, a.end.Sub(a.start))
	}
	if failing && len(l.attempts) > 0 && !lastGood.IsZero() {
		r.longestGap = max(r.longestGap, l.attempts[len(l.attempts)-1].end.Sub(lastGood))
	}
	return r
}
