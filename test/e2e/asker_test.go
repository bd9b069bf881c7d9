package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mdlayher/arp"
	. "github.com/onsi/gomega"

	"fairlead.io/fairlead/test/e2e/observe"
)

// askInterval is the time between two requests for an address; see observe.Hold.
const askInterval = 20 * time.Millisecond

// asker asks the LAN who has some IPv4 addresses, again and again, and notes who answers and who announces them. The answers also
// keep the client's own neighbour cache fresh, so where that matters nobody asks.
type asker struct {
	conn  *arp.Client
	names map[string]string // by hardware address
	done  sync.WaitGroup
	quit  chan struct{}
	end   func()

	mu            sync.Mutex // guards what follows
	answers       map[netip.Addr][]observe.Answer
	announcements map[netip.Addr][]observe.Answer
	err           error
}

// ask begins; it ends with the test, or when stop is called.
func (s *scenario) ask(addrs ...netip.Addr) *asker {
	s.Helper()
	a := s.listen(addrs...)
	a.done.Go(func() { a.request(addrs) })
	return a
}

// listen only notes who answers others, and who announces; it ends with the test, or when stop is called.
func (s *scenario) listen(addrs ...netip.Addr) *asker {
	s.Helper()
	a := &asker{names: map[string]string{}, quit: make(chan struct{}), answers: map[netip.Addr][]observe.Answer{}, announcements: map[netip.Addr][]observe.Answer{}}
	for _, h := range theLab.Hosts() {
		a.names[h.MAC.String()] = h.Name
	}
	for _, addr := range addrs {
		a.answers[addr] = nil
	}
	s.Expect(lanClient.Do(func() error {
		ifi, err := net.InterfaceByName(lanClient.Interface())
		if err == nil {
			a.conn, err = arp.Dial(ifi)
		}
		return err
	})).To(Succeed())
	a.done.Go(a.receive)
	a.end = s.undo(func() {
		close(a.quit)
		closed := a.conn.Close()
		a.done.Wait()
		s.Expect(errors.Join(a.err, closed)).NotTo(HaveOccurred())
	})
	return a
}

func (a *asker) request(addrs []netip.Addr) {
	ticker := time.NewTicker(askInterval)
	defer ticker.Stop()
	for {
		for _, addr := range addrs {
			if err := a.conn.Request(addr); err != nil {
				a.failed(err)
				return
			}
		}
		select {
		case <-a.quit:
			return
		case <-ticker.C:
		}
	}
}

func (a *asker) receive() {
	for {
		p, _, err := a.conn.Read()
		if err != nil {
			a.failed(err)
			return
		}
		a.note(p, time.Now())
	}
}

func (a *asker) note(p *arp.Packet, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, asked := a.answers[p.SenderIP]; !asked {
		return
	}
	who := p.SenderHardwareAddr.String()
	if name, ok := a.names[who]; ok {
		who = name
	}
	answer := observe.Answer{At: now, Who: who}
	switch {
	case p.TargetIP == p.SenderIP:
		a.announcements[p.SenderIP] = append(a.announcements[p.SenderIP], answer)
	case p.Operation == arp.OperationReply:
		a.answers[p.SenderIP] = append(a.answers[p.SenderIP], answer)
	}
}

// failed notes an error, unless it comes from the end.
func (a *asker) failed(err error) {
	select {
	case <-a.quit:
		return
	default:
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = errors.Join(a.err, err)
}

// stop ends asking.
func (a *asker) stop() { a.end() }

// spans are the times for which each answered for an address, so far.
func (a *asker) spans(addr netip.Addr) []observe.Span {
	a.mu.Lock()
	defer a.mu.Unlock()
	return observe.Spans(a.answers[addr])
}

// since is when a node first answered for an address.
func (a *asker) since(addr netip.Addr, node string) (at time.Time, ok bool) {
	for _, span := range a.spans(addr) {
		if span.Who == node {
			return span.From, true
		}
	}
	return time.Time{}, false
}

// lastAnnouncement is when one of the addresses was announced last, or that time if none was since.
func (a *asker) lastAnnouncement(since time.Time) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, list := range a.announcements {
		if n := len(list); n > 0 && list[n-1].At.After(since) {
			since = list[n-1].At
		}
	}
	return since
}

// announced are the announcements of an address so far: who told everybody, unasked, that it is theirs.
func (a *asker) announced(addr netip.Addr) []observe.Answer {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.announcements[addr])
}

// announcers tells who announced an address, one after another, with when the first of several announcements of one came.
func (a *asker) announcers(addr netip.Addr, start time.Time) string {
	var who []string
	last := ""
	for _, n := range a.announced(addr) {
		if n.Who != last {
			who = append(who, fmt.Sprintf("%s %.2f s", n.Who, n.At.Sub(start).Seconds()))
		}
		last = n.Who
	}
	return strings.Join(who, ", ")
}
