package netif

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"time"

	"github.com/go-logr/logr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// running is up, administratively and with a carrier.
const running = unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOWER_UP

// Watcher reports the usable interfaces and each change of them.
type Watcher struct {
	exclude *regexp.Regexp
	changed func([]Interface)
	log     logr.Logger
}

// NewWatcher makes a watcher that calls changed, from one goroutine, with the usable interfaces at first and after each change.
func NewWatcher(exclude *regexp.Regexp, changed func([]Interface), log logr.Logger) *Watcher {
	return &Watcher{exclude: exclude, changed: changed, log: log}
}

// Run watches until the context ends. When the kernel drops notifications because there were too many at once it subscribes
// anew and reads everything again, so no change is missed.
func (w *Watcher) Run(ctx context.Context) error {
	var last []Interface
	first := true
	for ctx.Err() == nil {
		err := w.subscribe(ctx, func(now []Interface, lost map[int]bool) {
			// What was gone for a moment is reported so, however late that is seen: sockets on it may be dead, and who is behind it may
			// have forgotten this node.
			still := slices.DeleteFunc(slices.Clone(now), func(i Interface) bool { return lost[i.Index] && contains(last, i.Index) })
			for _, list := range [][]Interface{still, now} {
				if first || !Equal(last, list) {
					w.logChange(last, list)
					first, last = false, list
					w.changed(list)
				}
			}
		})
		if ctx.Err() != nil {
			break
		}
		w.log.Info("reading the kernel's interface notifications anew", "cause", fmt.Sprint(err))
		select {
		case <-ctx.Done():
		case <-time.After(time.Second): // not in a loop of its own where the kernel refuses for good
		}
	}
	return nil //nolint:nilerr // the context's end is no failure, whatever it broke
}

// subscribe reads everything once, and again after notifications of interfaces that could be usable, until that fails. It reports what it
// has read, and which interfaces, by index, were not usable at some time since the report before.
func (w *Watcher) subscribe(ctx context.Context, report func(now []Interface, lost map[int]bool)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	links, addrs := make(chan netlink.LinkUpdate, 64), make(chan netlink.AddrUpdate, 64)
	fail := func(err error) { cancel(err) }
	// A larger buffer than the default, as far as that is allowed without privileges.
	if err := netlink.LinkSubscribeWithOptions(links, done, netlink.LinkSubscribeOptions{ErrorCallback: fail, ReceiveBufferSize: 1 << 20}); err != nil {
		return fmt.Errorf("subscribe to interface notifications: %w", err)
	}
	if err := netlink.AddrSubscribeWithOptions(addrs, done, netlink.AddrSubscribeOptions{ErrorCallback: fail, ReceiveBufferSize: 1 << 20}); err != nil {
		close(done)
		drain(links)
		return fmt.Errorf("subscribe to address notifications: %w", err)
	}
	defer func() { // the library's readers end when the channels are read out
		close(done)
		drain(links)
		drain(addrs)
	}()

	ignored := map[int]bool{} // interfaces excluded by name: pods come and go without a look at all others
	lost := map[int]bool{}
	for {
		now, err := w.read(ignored)
		if err != nil {
			return err
		}
		report(now, lost)
		clear(lost)
		// One that is reported matters under its new name too.
		ofLink := func(u netlink.LinkUpdate) bool {
			if u.Link == nil {
				return true
			}
			a := u.Attrs()
			if u.Header.Type == unix.RTM_DELLINK || a.RawFlags&running != running {
				lost[a.Index] = true
			}
			return w.exclude == nil || !w.exclude.MatchString(a.Name) || contains(now, a.Index)
		}
		for relevant := false; !relevant; {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case u, ok := <-links:
				if !ok {
					return errors.New("the kernel ended the interface notifications")
				}
				relevant = ofLink(u)
			case u, ok := <-addrs:
				if !ok {
					return errors.New("the kernel ended the address notifications")
				}
				relevant = !ignored[u.LinkIndex]
			}
		}
		// What has come meanwhile is covered by the reading that follows.
		for more := true; more; {
			select {
			case u, ok := <-links:
				if more = ok; ok {
					ofLink(u)
				}
			case _, ok := <-addrs:
				more = ok
			default:
				more = false
			}
		}
	}
}

func contains(list []Interface, index int) bool {
	return slices.ContainsFunc(list, func(i Interface) bool { return i.Index == index })
}

func drain[T any](c <-chan T) {
	go func() {
		for range c { // until the library closes it
		}
	}()
}

// read asks the kernel for all interfaces and addresses.
func (w *Watcher) read(ignored map[int]bool) ([]Interface, error) {
	all, err := retryDump(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	clear(ignored)
	links := make([]link, 0, len(all))
	for _, l := range all {
		a := l.Attrs()
		links = append(links, link{
			name: a.Name, index: a.Index, mac: a.HardwareAddr, kind: l.Type(), master: a.MasterIndex,
			ethernet: a.EncapType == "ether",
			loopback: a.Flags&net.FlagLoopback != 0,
			up:       a.RawFlags&running == running,
		})
		if w.exclude != nil && w.exclude.MatchString(a.Name) {
			ignored[a.Index] = true
		}
	}
	found := usable(links, w.exclude)
	addrs, err := retryDump(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for i := range found {
		for _, a := range addrs {
			if a.LinkIndex != found[i].Index || a.IPNet == nil {
				continue
			}
			if ip, ok := netip.AddrFromSlice(a.IP); ok {
				bits, _ := a.Mask.Size()
				found[i].Addresses = append(found[i].Addresses, netip.PrefixFrom(ip.Unmap(), bits))
			}
		}
		slices.SortFunc(found[i].Addresses, func(a, b netip.Prefix) int { return a.Compare(b) })
	}
	return found, nil
}

// retryDump repeats a reading that a simultaneous change has made inconsistent.
func retryDump[T any](list func() ([]T, error)) (out []T, err error) {
	for range 5 {
		if out, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return out, err
		}
	}
	return out, nil // a notification of what keeps changing will follow
}

func (w *Watcher) logChange(before, now []Interface) {
	seen := map[string]Interface{}
	for _, i := range before {
		seen[i.Name] = i
	}
	for _, i := range now {
		old, ok := seen[i.Name]
		delete(seen, i.Name)
		if !ok || old.MAC != i.MAC || old.Index != i.Index {
			w.log.Info("interface is usable", "interface", i.Name, "mac", i.MAC)
		}
	}
	for name := range seen {
		w.log.Info("interface is not usable anymore", "interface", name)
	}
}
