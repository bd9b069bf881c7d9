package engine

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/bgp"
)

// control is a Dialer's Control that calls f with the socket.
func control(f func(fd int) error) func(string, string, syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error { return onSocket(c, f) }
}

func onSocket(c syscall.RawConn, f func(fd int) error) error {
	var err error
	if outer := c.Control(func(fd uintptr) { err = f(int(fd)) }); outer != nil {
		return outer
	}
	return err
}

// dial connects to a peer at an address that may not be the one of cfg.
func dial(ctx context.Context, to netip.Addr, cfg *bgp.Peer) (*net.TCPConn, error) {
	d := net.Dialer{KeepAlive: -1, Control: control(func(fd int) error {
		if err := setTTL(fd, to, cfg); err != nil {
			return err
		}
		return setMD5(fd, to, string(cfg.Password))
	})}
	d.SetMultipathTCP(false) // it has no MD5
	if cfg.Source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(cfg.Source, 0))
	}
	conn, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(numbered(to), cfg.Port).String())
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil //nolint:errcheck // that is what "tcp" gives
}

// numbered gives a zone as the interface's number. By its name, Go would look up for a minute an interface that was made anew since.
func numbered(a netip.Addr) netip.Addr {
	if a.Zone() == "" {
		return a
	}
	ifi, err := net.InterfaceByName(a.Zone())
	if err != nil {
		return a // the dial says what is wrong
	}
	return a.WithZone(strconv.Itoa(ifi.Index))
}

// setMD5 sets the password for one peer of a socket (RFC 2385).
func setMD5(fd int, peer netip.Addr, password string) error {
	if password == "" {
		return nil
	}
	sig := unix.TCPMD5Sig{Keylen: uint16(len(password))}
	copy(sig.Key[:], password)
	// A sockaddr_in or sockaddr_in6, of which the address alone counts.
	if a := peer.WithZone(""); a.Is4() {
		sig.Addr.Family = unix.AF_INET
		b := a.As4()
		copyInts(sig.Addr.Data[2:], b[:])
	} else {
		sig.Addr.Family = unix.AF_INET6
		b := a.As16()
		copyInts(sig.Addr.Data[6:], b[:])
	}
	return os.NewSyscallError("set TCP MD5 password", unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, &sig))
}

func copyInts[T ~int8 | ~uint8](to []T, from []byte) {
	for i, b := range from {
		to[i] = T(b)
	}
}

const (
	// maxTTL is what packets have that come from the link itself (RFC 5082).
	maxTTL = 255
	// defaultTTL is the kernel's (RFC 1700).
	defaultTTL = 64
	// precedence is Internetwork Control (RFC 4271, Appendix E; RFC 2474, 4.2.2.1).
	precedence = 0xc0
)

// ttls are the TTL of what is sent to a peer and the lowest of what is taken from it; 0: any.
func ttls(cfg *bgp.Peer, internal bool) (send, receive int) {
	switch {
	case cfg.TTLSecurity:
		return maxTTL, maxTTL
	case internal || cfg.MultiHop:
		return defaultTTL, 0
	}
	return 1, 0
}

// changeTTL of a connection.
func changeTTL(conn *net.TCPConn, to netip.Addr, cfg *bgp.Peer) error {
	c, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	return onSocket(c, func(fd int) error { return setTTL(fd, to, cfg) })
}

func setTTL(fd int, to netip.Addr, cfg *bgp.Peer) error {
	send, receive := ttls(cfg, cfg.Internal())
	options := []struct{ level, name, value int }{
		{unix.IPPROTO_IP, unix.IP_TTL, send}, {unix.IPPROTO_IP, unix.IP_MINTTL, receive}, {unix.IPPROTO_IP, unix.IP_TOS, precedence},
	}
	if to.Is6() {
		options = []struct{ level, name, value int }{
			{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, send}, {unix.IPPROTO_IPV6, unix.IPV6_MINHOPCOUNT, receive},
			{unix.IPPROTO_IPV6, unix.IPV6_TCLASS, precedence},
		}
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("set socket option %d of the session to %d: %w", o.name, o.value, err)
		}
	}
	return nil
}

// hasMD5 reports whether the kernel has TCP MD5 signatures; one in FIPS mode has not.
func hasMD5() bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return setMD5(fd, netip.AddrFrom4([4]byte{127, 0, 0, 1}), "probe") == nil
}
