package arp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/packet"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/l2/internal/nettest"
	"fairlead.io/fairlead/l2/metrics"
	"fairlead.io/fairlead/l2/netif"
)

// This program, started with stormOn in its environment, is a storm of requests on that interface, stormRate a second, for 10.0.0.0/16.
const (
	stormOn   = "FAIRLEAD_TEST_STORM_ON"
	stormRate = "FAIRLEAD_TEST_STORM_RATE"
)

func storm() error {
	rate, err := strconv.Atoi(os.Getenv(stormRate))
	if err != nil {
		return err
	}
	ifi, err := net.InterfaceByName(os.Getenv(stormOn))
	if err != nil {
		return err
	}
	conn, err := packet.Listen(ifi, packet.Raw, 0x9999, nil) // receives nothing
	if err != nil {
		return err
	}
	f := frame(arp.OperationRequest, netif.MAC(ifi.HardwareAddr), "10.1.0.1", "10.0.0.0", ethernet.Broadcast)
	sent := 0
	start := time.Now()
	tick := time.NewTicker(time.Millisecond)
	for range tick.C { // until it is killed
		for ; float64(sent) < time.Since(start).Seconds()*float64(rate); sent++ {
			binary.BigEndian.PutUint16(f[offTargetIP+2:], uint16(sent))
			if _, err := conn.WriteTo(f, &packet.Addr{HardwareAddr: ethernet.Broadcast}); err != nil {
				return err
			}
		}
	}
	return nil
}

// BenchmarkStorm is what requests for addresses that are not ours cost, and how long our answers take meanwhile, next to the kernel's own
// answers for an address that it has. The process time includes asking, 100 times a second each.
func BenchmarkStorm(b *testing.B) {
	for _, rate := range []int{0, 20_000} {
		b.Run(fmt.Sprintf("%dPerSecond", rate), func(b *testing.B) {
			const kernel = "192.168.100.11"
			n := nettest.New(b)
			n.AddHostAddress(kernel + "/24")
			m, err := metrics.New(prometheus.NewRegistry())
			if err != nil {
				b.Fatal(err)
			}
			r, err := Listen(n.Host, nettest.NewHandler(vip), m, logr.Discard())
			if err != nil {
				b.Fatal(err)
			}
			var conn *packet.Conn // sees replies alone, else the storm would fill its buffer
			n.InClient(func() error {
				replies, err := bpf.Assemble([]bpf.Instruction{
					bpf.LoadAbsolute{Off: offOperation, Size: 2},
					bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(arp.OperationReply), SkipFalse: 1},
					bpf.RetConstant{Val: 64}, bpf.RetConstant{Val: 0}})
				if err != nil {
					return err
				}
				conn, err = packet.Listen(&net.Interface{Index: n.Client.Index, Name: n.Client.Name, HardwareAddr: n.Client.MAC[:]}, packet.Raw, etherType,
					&packet.Config{Filter: replies})
				return err
			})
			if rate > 0 {
				ctx, cancel := context.WithCancel(context.Background())
				c := n.ClientCommand(ctx, "/proc/self/exe")
				c.Args[len(c.Args)-1], err = os.Executable() // nsenter's /proc/self/exe would be nsenter
				if err != nil {
					b.Fatal(err)
				}
				c.Env = append(os.Environ(), stormOn+"="+n.Client.Name, fmt.Sprintf("%s=%d", stormRate, rate))
				c.Stderr = os.Stderr
				if err := c.Start(); err != nil {
					b.Fatal(err)
				}
				defer func() { cancel(); _ = c.Wait() }() // killed, it ends with an error
			}
			ask := func(addr string) time.Duration {
				want := netip.MustParseAddr(addr).As4()
				f := frame(arp.OperationRequest, n.Client.MAC, "192.168.100.100", addr, ethernet.Broadcast)
				start := time.Now()
				if _, err := conn.WriteTo(f, &packet.Addr{HardwareAddr: ethernet.Broadcast}); err != nil {
					b.Fatal(err)
				}
				if err := conn.SetReadDeadline(start.Add(5 * time.Second)); err != nil {
					b.Fatal(err)
				}
				for answer := make([]byte, 64); !bytes.Equal(answer[offSenderIP:offSenderIP+4], want[:]); {
					if _, _, err := conn.ReadFrom(answer); err != nil {
						b.Fatalf("no answer for %s: %v", addr, err)
					}
				}
				return time.Since(start)
			}
			var ours, theirs []time.Duration
			before, received, start := cpu(b), hostReceived(b, n.Host.Name), time.Now()
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for b.Loop() {
				<-tick.C
				ours = append(ours, ask(vip))
				theirs = append(theirs, ask(kernel))
			}
			took := time.Since(start)
			b.ReportMetric(float64(hostReceived(b, n.Host.Name)-received)/took.Seconds(), "frames/s")
			b.ReportMetric((cpu(b)-before).Seconds()/took.Seconds()*100, "%-of-a-core")
			for what, list := range map[string][]time.Duration{"ours": ours, "kernel": theirs} {
				slices.Sort(list)
				b.ReportMetric(float64(list[len(list)*99/100].Microseconds()), "p99-µs-"+what)
				b.ReportMetric(float64(list[len(list)/2].Microseconds()), "p50-µs-"+what)
			}
			if err := errors.Join(r.Close(), conn.Close()); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// cpu time that this process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// hostReceived is how many frames an interface of this namespace has received.
func hostReceived(b *testing.B, name string) uint64 {
	b.Helper()
	raw, err := os.ReadFile("/proc/thread-self/net/dev")
	if err != nil {
		b.Fatal(err)
	}
	for line := range bytes.Lines(raw) {
		if f := bytes.Fields(line); len(f) > 2 && string(f[0]) == name+":" {
			v, err := strconv.ParseUint(string(f[2]), 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return v
		}
	}
	b.Fatalf("no interface %s", name)
	return 0
}
