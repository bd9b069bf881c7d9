package announce

import (
	"net/netip"
	"sync"
	"time"

	"fairlead.io/fairlead/l2/netif"
)

// answers is what is asked for every frame: read often, by each port's goroutine, and written seldom.
type answers struct {
	mu    sync.RWMutex // guards addrs
	addrs map[netip.Addr]answer
}

// answer says on which interfaces an address is watched, and whether it is answered for there.
type answer struct {
	interfaces []string
	answered   bool
}

func (t *answers) set(addr netip.Addr, interfaces []string, answered bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.addrs[addr] = answer{interfaces, answered}
}

func (t *answers) remove(addr netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.addrs, addr)
}

func (t *answers) get(ifname string, addr netip.Addr) (watched, answered bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	e, ok := t.addrs[addr]
	watched = ok && covers(e.interfaces, ifname)
	return watched, watched && e.answered
}

// Answers is part of Handler.
func (a *Announcer) Answers(ifname string, addr netip.Addr) bool {
	_, answered := a.answers.get(ifname, addr)
	return answered
}

// Watches is part of Handler.
func (a *Announcer) Watches(ifname string, addr netip.Addr) bool {
	watched, _ := a.answers.get(ifname, addr)
	return watched
}

// Claimed is part of Handler. Under a flood of claims those that cannot be taken are lost; whoever means it claims again.
func (a *Announcer) Claimed(ifname string, addr netip.Addr, mac netif.MAC) {
	select {
	case a.claims <- claim{ifname, addr, mac}:
	default:
	}
}

// failures are the ports that have failed since Run last looked, by interface. None may be lost: a port that has failed
// receives nothing and will not say so again.
type failures struct {
	news chan struct{}

	mu     sync.Mutex // guards byName
	byName map[string]failure
}

type failure struct {
	err error
	at  time.Time
}

func (f *failures) take() map[string]failure {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.byName
	f.byName = nil
	return out
}

// Failed is part of Handler.
func (a *Announcer) Failed(ifname string, err error) {
	a.failed.mu.Lock()
	defer a.failed.mu.Unlock()
	if a.failed.byName == nil {
		a.failed.byName = map[string]failure{}
	}
	a.failed.byName[ifname] = failure{err, time.Now()}
	notify(a.failed.news)
}

// schedule is a heap of times at which an address needs a look; times that no longer matter stay and are skipped.
type schedule []timer

type timer struct {
	at   time.Time
	addr netip.Addr
}

func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return s[i].at.Before(s[j].at) }
func (s schedule) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }
func (s *schedule) Push(x any)        { *s = append(*s, x.(timer)) } //nolint:errcheck // only add calls it

func (s *schedule) Pop() any {
	last := (*s)[len(*s)-1]
	*s = (*s)[:len(*s)-1]
	return last
}
