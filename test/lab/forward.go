//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
)

// ForwardCommand is the hidden subcommand that runs Forward.
const ForwardCommand = "_forward"

// listenerFD is the socket that a forwarder inherits: opened on the machine's loopback address, it stays there although
// the process that accepts from it lives on the control plane's host.
const listenerFD = 3

// Forward passes TCP connections from an inherited listener on to an address, until the host ends.
func Forward(to string) error {
	f := os.NewFile(listenerFD, "listener")
	listener, err := net.FileListener(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("take over the listener: %w", err)
	}
	l, ok := listener.(*net.TCPListener)
	if !ok {
		return fmt.Errorf("take over the listener: it is for %s, not for TCP", listener.Addr().Network())
	}
	for {
		in, err := l.AcceptTCP()
		if err != nil {
			var temporary net.Error
			if errors.As(err, &temporary) && temporary.Timeout() || errors.Is(err, syscall.ECONNABORTED) {
				continue
			}
			return fmt.Errorf("accept on %s: %w", l.Addr(), err)
		}
		go func() {
			if err := splice(in, to); err != nil {
				fmt.Fprintln(os.Stderr, "forward:", err)
			}
		}()
	}
}

func splice(in *net.TCPConn, to string) error {
	addr, err := netip.ParseAddrPort(to)
	if err != nil {
		return errors.Join(err, in.Close())
	}
	out, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(addr))
	if err != nil {
		return errors.Join(err, in.Close())
	}
	sent := make(chan error, 1)
	go func() { sent <- pass(out, in) }()
	err = errors.Join(pass(in, out), <-sent)
	// Both directions are over; a connection that is closed already has had its say.
	_, _ = in.Close(), out.Close()
	return err
}

// pass copies one direction and ends it alone: the other may still have something to say.
func pass(to, from *net.TCPConn) error {
	_, err := io.Copy(to, from)
	if err != nil {
		// Either side has gone without a word; let the other direction end too.
		_ = to.Close()
		_ = from.Close()
		if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed) {
			return nil
		}
		return err
	}
	if err := to.CloseWrite(); err != nil && !errors.Is(err, syscall.ENOTCONN) && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// listenLoopback opens the forwarder's socket on the given port, or on any free one when it is 0.
func listenLoopback(port int) (*net.TCPListener, error) {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		return nil, fmt.Errorf("listen on the loopback address for the API server: %w", err)
	}
	return l, nil
}

// startForwarder makes the API server reachable on the machine's loopback address.
func (l *Lab) startForwarder(listener *net.TCPListener) error {
	f, err := listener.File()
	if err = errors.Join(err, listener.Close()); err != nil {
		return fmt.Errorf("hand the loopback listener over: %w", err)
	}
	cp := l.controlPlane()
	// It outlives this process.
	cmd := exec.CommandContext(context.Background(), l.cfg.Executable, ForwardCommand, l.apiAddr())
	cmd.ExtraFiles = []*os.File{f}
	_, err = cp.startDaemon("forward", cmd)
	return errors.Join(err, f.Close())
}
