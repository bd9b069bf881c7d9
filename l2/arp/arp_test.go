package arp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"fairlead.io/fairlead/l2/internal/nettest"
	"fairlead.io/fairlead/l2/metrics"
	"fairlead.io/fairlead/l2/netif"
)

func TestMain(m *testing.M) {
	if os.Getenv(stormOn) != "" {
		if err := storm(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	nettest.Main(m)
}

const vip = "192.168.100.240"

var (
	host   = netif.MAC{2, 0, 0, 0, 0, 1}
	client = netif.MAC{2, 0, 0, 0, 0, 2}
)

// frame makes an ARP frame from a client.
func frame(op arp.Operation, from netif.MAC, sender, target string, to net.HardwareAddr) []byte {
	f, err := build(op, from, netip.MustParseAddr(sender), to, net.HardwareAddr{0, 0, 0, 0, 0, 0}, netip.MustParseAddr(target))
	if err != nil {
		panic(err)
	}
	return f
}

func ours(a netip.Addr) bool { return a == netip.MustParseAddr(vip) }

func TestDecide(t *testing.T) {
	edit := func(f []byte, at int, b ...byte) []byte { copy(f[at:], b); return f }
	request := func() []byte { return frame(arp.OperationRequest, client, "192.168.100.100", vip, ethernet.Broadcast) }
	tests := []struct {
		name    string
		frame   []byte
		reply   string // the reply's target address; empty: none
		claimed bool
	}{
		{name: "request", frame: request(), reply: "192.168.100.100"},
		{name: "unicast request", frame: frame(arp.OperationRequest, client, "192.168.100.100", vip, host[:]), reply: "192.168.100.100"},
		{name: "probe (RFC 5227)", frame: frame(arp.OperationRequest, client, "0.0.0.0", vip, ethernet.Broadcast), reply: "0.0.0.0"},
		{name: "not ours", frame: frame(arp.OperationRequest, client, "192.168.100.100", "192.168.100.241", ethernet.Broadcast)},
		{name: "from ourselves", frame: frame(arp.OperationRequest, host, "192.168.100.100", vip, ethernet.Broadcast)},
		{name: "reply to somebody", frame: frame(arp.OperationReply, client, "192.168.100.100", vip, host[:])},
		{name: "gratuitous request of another", frame: frame(arp.OperationRequest, client, vip, vip, ethernet.Broadcast), claimed: true},
		{name: "gratuitous reply of another", frame: frame(arp.OperationReply, client, vip, vip, ethernet.Broadcast), claimed: true},
		{name: "another asks under our address", frame: frame(arp.OperationRequest, client, vip, "192.168.100.1", ethernet.Broadcast), claimed: true},
		{name: "our own announcement comes back", frame: frame(arp.OperationReply, host, vip, vip, ethernet.Broadcast)},
		{name: "group address as sender", frame: edit(request(), offSenderMAC, 1)},
		{name: "no sender", frame: edit(request(), offSenderMAC, 0, 0, 0, 0, 0, 0)},
		{name: "other hardware", frame: edit(request(), 14, 0, 6)},
		{name: "other protocol", frame: edit(request(), 16, 0x86, 0xdd)},
		{name: "other lengths", frame: edit(request(), 18, 8)},
		{name: "other operation", frame: edit(request(), offOperation, 0, 3)},
		{name: "other operation, from our address", frame: edit(frame(arp.OperationRequest, client, vip, vip, ethernet.Broadcast), offOperation, 0, 3)},
		{name: "our address, from a group address", frame: edit(frame(arp.OperationReply, client, vip, vip, ethernet.Broadcast), offSenderMAC, 1)},
		{name: "our address, from no hardware", frame: frame(arp.OperationReply, netif.MAC{}, vip, vip, ethernet.Broadcast)},
		{name: "short", frame: request()[:frameLen-1]},
		{name: "empty"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := decide(tt.frame, host, ours, ours)
			if v.claimed.IsValid() != tt.claimed || (tt.claimed && v.mac != client) {
				t.Errorf("claimed %s by %s, want a claim: %t", v.claimed, v.mac, tt.claimed)
			}
			if (v.reply != nil) != (tt.reply != "") {
				t.Fatalf("reply %x, want one: %t", v.reply, tt.reply != "")
			}
			if v.reply != nil {
				checkReply(t, v.reply, host, client, tt.reply)
			}
		})
	}
}

func checkReply(t *testing.T, b []byte, from, to netif.MAC, target string) {
	t.Helper()
	var p arp.Packet
	if err := p.UnmarshalBinary(b[14:]); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b[:6], to[:]) || !bytes.Equal(b[6:12], from[:]) || binary.BigEndian.Uint16(b[12:]) != etherType {
		t.Errorf("Ethernet header %x", b[:14])
	}
	if p.Operation != arp.OperationReply || p.SenderIP != netip.MustParseAddr(vip) || !bytes.Equal(p.SenderHardwareAddr, from[:]) ||
		p.TargetIP != netip.MustParseAddr(target) || !bytes.Equal(p.TargetHardwareAddr, to[:]) {
		t.Errorf("reply %+v", p)
	}
}

func FuzzDecide(f *testing.F) {
	asks := frame(arp.OperationRequest, client, "192.168.100.100", vip, ethernet.Broadcast)
	f.Add(asks)
	f.Add(append(bytes.Clone(asks), make([]byte, 18)...)) // padded to the least size of a frame
	f.Add(asks[:frameLen-1])
	f.Add(slices.Concat(asks[:12], []byte{0x81, 0, 0, 5}, asks[12:])) // of a VLAN
	f.Add(frame(arp.OperationRequest, client, "0.0.0.0", vip, ethernet.Broadcast))
	f.Add(frame(arp.OperationRequest, client, "192.168.100.100", vip, host[:]))
	f.Add(frame(arp.OperationRequest, client, vip, vip, ethernet.Broadcast))
	f.Add(frame(arp.OperationReply, client, vip, vip, ethernet.Broadcast))
	f.Add(frame(arp.OperationReply, client, vip, "192.168.100.100", host[:]))
	f.Add(frame(arp.OperationReply, host, vip, vip, ethernet.Broadcast))
	f.Add([]byte{})
	address := netip.MustParseAddr(vip).As4()
	f.Fuzz(func(t *testing.T, b []byte) {
		v := decide(bytes.Clone(b), host, ours, ours)
		if v.reply == nil && !v.claimed.IsValid() {
			return
		}
		if len(b) < frameLen {
			t.Fatalf("a verdict on half a packet, %x", b)
		}
		sender, op := netif.MAC(b[offSenderMAC:]), arp.Operation(binary.BigEndian.Uint16(b[offOperation:]))
		if !bytes.Equal(b[14:20], []byte{0, 1, 8, 0, 6, 4}) || sender == host || sender == (netif.MAC{}) || sender[0]&1 != 0 {
			t.Errorf("a verdict on %x", b)
		}
		if v.claimed.IsValid() && (v.claimed.As4() != address || [4]byte(b[offSenderIP:]) != address || v.mac != sender || op != arp.OperationRequest && op != arp.OperationReply) {
			t.Errorf("%s is claimed by %s in %x", v.claimed, v.mac, b)
		}
		if v.reply != nil {
			if op != arp.OperationRequest || [4]byte(b[offTargetIP:]) != address {
				t.Errorf("answered %x", b)
			}
			var p arp.Packet
			if err := p.UnmarshalBinary(v.reply[14:]); err != nil || p.Operation != arp.OperationReply || p.SenderIP.As4() != address || !bytes.Equal(p.SenderHardwareAddr, host[:]) ||
				!bytes.Equal(v.reply[:6], sender[:]) || len(v.reply) > 64 {
				t.Errorf("reply %x to %x", v.reply, b)
			}
		}
	})
}

// responder runs one on a network's host.
func responder(t *testing.T, n *nettest.Network, h *nettest.Handler) (*Responder, *metrics.Set) {
	t.Helper()
	m, err := metrics.New(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	others := goleak.IgnoreCurrent()
	r, err := Listen(n.Host, h, m, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		goleak.VerifyNone(t, others)
	})
	return r, m
}

// TestOnTheWire: an interface without any address answers what it should, and nothing else.
func TestOnTheWire(t *testing.T) {
	n := nettest.New(t)
	h := nettest.NewHandler(vip)
	r, m := responder(t, n, h)
	tap := n.Tap(etherType)
	fromHost := func(b []byte) bool { return bytes.Equal(b[6:12], n.Host.MAC[:]) }

	// What is not ours, or not well formed, is sent before: its answer would come first.
	tap.Send(frame(arp.OperationRequest, n.Client.MAC, "192.168.100.100", "192.168.100.241", ethernet.Broadcast))
	tap.Send(frame(arp.OperationRequest, n.Client.MAC, "192.168.100.100", vip, ethernet.Broadcast)[:40])
	tap.Send(frame(arp.OperationRequest, n.Client.MAC, "192.168.100.100", vip, net.HardwareAddr{2, 9, 9, 9, 9, 9})) // for another host
	tap.Send(frame(arp.OperationRequest, n.Client.MAC, "192.168.100.100", vip, ethernet.Broadcast))
	b := tap.Next(nettest.Patience, fromHost)
	if b == nil {
		t.Fatal("no answer")
	}
	checkReply(t, b, n.Host.MAC, n.Client.MAC, "192.168.100.100")
	tap.Send(frame(arp.OperationRequest, n.Client.MAC, "0.0.0.0", vip, ethernet.Broadcast))
	if b = tap.Next(nettest.Patience, fromHost); b == nil {
		t.Fatal("no answer to a probe")
	}
	checkReply(t, b, n.Host.MAC, n.Client.MAC, "0.0.0.0")

	if err := r.Announce(netip.MustParseAddr(vip)); err != nil {
		t.Fatal(err)
	}
	targets := map[arp.Operation]net.HardwareAddr{arp.OperationRequest: make(net.HardwareAddr, 6), arp.OperationReply: n.Host.MAC[:]} // RFC 5227, 2.3: zero
	for i, op := range []arp.Operation{arp.OperationRequest, arp.OperationReply} {
		b := tap.Next(nettest.Patience, fromHost)
		if b == nil {
			t.Fatalf("announcement %d is missing", i)
		}
		var p arp.Packet
		if err := p.UnmarshalBinary(b[14:]); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b[:6], ethernet.Broadcast) || p.Operation != op || p.SenderIP != netip.MustParseAddr(vip) || p.TargetIP != p.SenderIP ||
			!bytes.Equal(p.SenderHardwareAddr, n.Host.MAC[:]) || !bytes.Equal(p.TargetHardwareAddr, targets[op]) {
			t.Errorf("announcement %d: %+v to %x", i, p, b[:6])
		}
	}
	if b := tap.Next(100*time.Millisecond, fromHost); b != nil {
		t.Errorf("an unexpected frame: %x", b)
	}

	tap.Send(frame(arp.OperationReply, n.Client.MAC, vip, vip, ethernet.Broadcast))
	select {
	case a := <-h.Claims:
		if a != netip.MustParseAddr(vip) {
			t.Errorf("claim of %s", a)
		}
	case <-time.After(nettest.Patience):
		t.Error("a foreign claim was not noticed")
	}
	// Counted after an answer is out, but before the claim was looked at.
	if got := testutil.ToFloat64(m.Responses.WithLabelValues(metrics.ARP)); got != 2 {
		t.Errorf("%v answers counted, want 2", got)
	}
}
