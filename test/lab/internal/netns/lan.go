//go:build linux

package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const bridge = "lan"

// Leg is a host's link to the LAN, or to another network of the same making.
type Leg struct {
	Namespace string // the host's
	Port      string // the bridge port's name
	Interface string // the name inside the host
	MAC       net.HardwareAddr
	Addrs     []netip.Prefix
	Routes    []Route
	// Forward makes the host a router for IPv4 and IPv6.
	Forward bool
}

// Route sends what goes to a prefix to a neighbour on the LAN.
type Route struct {
	To  netip.Prefix
	Via netip.Addr
}

// EnsureBridge makes the LAN: one bridge in a namespace of its own, so that no filter of the machine sees its traffic.
func EnsureBridge(lan string) error {
	if err := Ensure(lan); err != nil {
		return err
	}
	return Do(lan, func() error {
		// Without a querier on the LAN, snooping may hold multicast back that neighbour discovery needs.
		snooping := false
		br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridge}, MulticastSnooping: &snooping}
		if err := netlink.LinkAdd(br); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make the LAN's bridge: %w", err)
		}
		link, err := netlink.LinkByName(bridge)
		if err != nil {
			return fmt.Errorf("find the LAN's bridge: %w", err)
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return fmt.Errorf("set the LAN's bridge up: %w", err)
		}
		return nil
	})
}

// EnsureLeg makes the host's namespace and its link to the LAN. It leaves a link alone that is there, so that a cut link
// stays cut.
func EnsureLeg(lan string, leg Leg) error {
	if err := Ensure(leg.Namespace); err != nil {
		return err
	}
	if err := Do(leg.Namespace, func() error { return prepareHost(leg) }); err != nil {
		return fmt.Errorf("prepare namespace %s: %w", leg.Namespace, err)
	}
	if err := Do(lan, func() error { return plug(leg) }); err != nil {
		return fmt.Errorf("connect %s to the LAN: %w", leg.Namespace, err)
	}
	if err := Do(leg.Namespace, func() error { return configure(leg) }); err != nil {
		return fmt.Errorf("configure %s in %s: %w", leg.Interface, leg.Namespace, err)
	}
	return nil
}

// prepareHost sets what must be set before the first link is there. No duplicate address detection: addresses are usable at
// once, and the plan has no duplicates.
func prepareHost(leg Leg) error {
	settings := map[string]string{
		"ipv4/conf/all/rp_filter":         "0",
		"ipv4/conf/default/rp_filter":     "0",
		"ipv6/conf/all/accept_dad":        "0",
		"ipv6/conf/default/accept_dad":    "0",
		"ipv6/conf/default/dad_transmits": "0",
		"ipv6/conf/all/accept_ra":         "0",
		"ipv6/conf/default/accept_ra":     "0",
	}
	if leg.Forward {
		settings["ipv4/ip_forward"] = "1"
		settings["ipv6/conf/all/forwarding"] = "1"
		settings["ipv6/conf/default/forwarding"] = "1"
		// A router spreads connections, and not pairs of addresses, over the next hops of a route.
		settings["ipv4/fib_multipath_hash_policy"] = "1"
		settings["ipv6/fib_multipath_hash_policy"] = "1"
	}
	for name, value := range settings {
		if err := os.WriteFile(filepath.Join("/proc/sys/net", name), []byte(value), 0); err != nil {
			return fmt.Errorf("set sysctl net/%s: %w", name, err)
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	return netlink.LinkSetUp(lo)
}

// plug makes the veth pair from the LAN's side: neither end is ever seen in the machine's own namespace.
func plug(leg Leg) error {
	if _, err := netlink.LinkByName(leg.Port); err == nil {
		return nil
	} else if !errors.As(err, &netlink.LinkNotFoundError{}) {
		return fmt.Errorf("find port %s: %w", leg.Port, err)
	}
	host, err := os.Open(Path(leg.Namespace))
	if err != nil {
		return err
	}
	defer func() { _ = host.Close() }()
	br, err := netlink.LinkByName(bridge)
	if err != nil {
		return fmt.Errorf("find the LAN's bridge: %w", err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MasterIndex = leg.Port, br.Attrs().Index
	attrs.Flags |= net.FlagUp
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: leg.Interface, PeerHardwareAddr: leg.MAC, PeerNamespace: netlink.NsFd(host.Fd())}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("make port %s: %w", leg.Port, err)
	}
	return nil
}

func configure(leg Leg) error {
	link, err := netlink.LinkByName(leg.Interface)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	for _, a := range leg.Addrs {
		addr := &netlink.Addr{IPNet: ipNet(a)}
		if a.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrReplace(link, addr); err != nil {
			return fmt.Errorf("add address %s: %w", a, err)
		}
	}
	for _, r := range leg.Routes {
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(r.To), Gw: r.Via.AsSlice()}
		err := netlink.RouteReplace(route)
		// With the cable pulled a route may stay away until it is back.
		if err != nil && !errors.Is(err, syscall.ENETDOWN) {
			return fmt.Errorf("add route %s via %s: %w", r.To, r.Via, err)
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// SetPort cuts or restores a host's link at the bridge. The host's own end then loses or gains its carrier, which is
// what it would see of a pulled cable; its addresses and routes stay configured.
func SetPort(lan, port string, up bool) error {
	return Do(lan, func() error {
		link, err := netlink.LinkByName(port)
		if err != nil {
			return fmt.Errorf("find port %s of the LAN: %w", port, err)
		}
		set := netlink.LinkSetDown
		if up {
			set = netlink.LinkSetUp
		}
		if err := set(link); err != nil {
			return fmt.Errorf("set port %s of the LAN: %w", port, err)
		}
		return nil
	})
}
