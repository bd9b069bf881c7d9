package membership

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/go-logr/logr"
)

func carrier(t *testing.T, addr string) *transport {
	t.Helper()
	c, err := listen(netip.AddrPortFrom(netip.MustParseAddr(addr), 0), logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What is sent arrives as it was sent, with the sender's address; over TCP as well.
func TestTransport(t *testing.T) {
	for _, addr := range []string{"127.0.0.1", "::1"} {
		a, b := carrier(t, addr), carrier(t, addr)
		to := netip.AddrPortFrom(netip.MustParseAddr(addr), b.port()).String()
		for _, text := range []string{"", "one", string(make([]byte, 1400))} { // the empty one is nothing, and not handed over
			if _, err := a.WriteTo([]byte(text), to); err != nil {
				t.Fatal(err)
			}
			if text == "" {
				continue
			}
			select {
			case p := <-b.PacketCh():
				if string(p.Buf) != text || p.From.String() != netip.AddrPortFrom(netip.MustParseAddr(addr), a.port()).String() || time.Since(p.Timestamp) > time.Minute {
					t.Errorf("%d bytes from %s at %s", len(p.Buf), p.From, p.Timestamp)
				}
			case <-time.After(patience):
				t.Fatalf("a packet of %d bytes did not arrive at %s", len(text), to)
			}
		}
		conn, err := a.DialTimeout(to, patience)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, _ = conn.Write([]byte("stream"))
			_ = conn.Close()
		}()
		other := <-b.StreamCh()
		if got, err := io.ReadAll(other); err != nil || string(got) != "stream" {
			t.Errorf("read %q, %v", got, err)
		}
		if ip, port, err := b.FinalAdvertiseAddr(addr, 1); err != nil || !ip.Equal(net.ParseIP(addr)) || port != int(b.port()) {
			t.Errorf("advertises %s, %d, %v", ip, port, err)
		}
		// What nobody takes keeps nothing from ending.
		if _, err := a.WriteTo([]byte("late"), to); err != nil {
			t.Error(err)
		}
		late, err := a.DialTimeout(to, patience)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(other.Close(), a.Shutdown(), b.Shutdown(), late.Close()); err != nil {
			t.Error(err)
		}
	}
}

func TestTransportSaysWhatIsWrong(t *testing.T) {
	a := carrier(t, "127.0.0.1")
	for _, to := range []string{"nowhere", "127.0.0.1", "[::1]:1"} { // the last is of another family
		if _, err := a.WriteTo([]byte("x"), to); err == nil {
			t.Errorf("sent to %s", to)
		}
	}
	if _, err := listen(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), a.port()), logr.Discard()); err == nil {
		t.Error("two listen on one port")
	}
	if err := a.Shutdown(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.WriteTo([]byte("x"), "127.0.0.1:1"); err == nil {
		t.Error("sent after the end")
	}
}
