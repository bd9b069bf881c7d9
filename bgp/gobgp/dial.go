package gobgp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
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
	conn, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(to, cfg.Port).String())
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil //nolint:errcheck // that is what "tcp" gives
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
