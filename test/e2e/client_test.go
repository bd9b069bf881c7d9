package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ndp"

	"fairlead.io/fairlead/test/lab"
)

// get fetches a path from an address as the LAN's client does: a new connection each time.
func get(ctx context.Context, addr netip.Addr, path string) (string, error) {
	return getFrom(ctx, lanClient, addr, path)
}

func getFrom(ctx context.Context, from *lab.Host, addr netip.Addr, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+netip.AddrPortFrom(addr, 80).String()+path, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := from.HTTPClient(0).Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("GET %s: %s", req.URL, resp.Status)
	}
	return string(body), nil
}

// answeringPod is the name of the pod that answers at an address.
func answeringPod(ctx context.Context, addr netip.Addr) (string, error) {
	return answeringPodTo(ctx, lanClient, addr)
}

func answeringPodTo(ctx context.Context, from *lab.Host, addr netip.Addr) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	body, err := getFrom(ctx, from, addr, "/")
	if err != nil {
		return "", err
	}
	greeting, pod, ok := strings.Cut(strings.TrimSpace(body), "\n")
	if !ok || greeting != "Hello World!" {
		return "", fmt.Errorf("unexpected answer from %s: %q", addr, body)
	}
	return pod, nil
}

// answeringPods asks an address until the wanted number of pods have answered, a failure comes, or n requests were made.
func answeringPods(ctx context.Context, addr netip.Addr, want, n int) (map[string]int, error) {
	return answeringPodsTo(ctx, lanClient, addr, want, n)
}

func answeringPodsTo(ctx context.Context, from *lab.Host, addr netip.Addr, want, n int) (map[string]int, error) {
	pods := map[string]int{}
	for range n {
		pod, err := answeringPodTo(ctx, from, addr)
		if err != nil {
			return pods, err
		}
		pods[pod]++
		if len(pods) == want {
			break
		}
	}
	return pods, nil
}

// echo sends a datagram to port 80 of an address and returns what comes back.
func echo(ctx context.Context, addr netip.Addr, message string) (string, error) {
	conn, err := lanClient.Dial(ctx, "udp", netip.AddrPortFrom(addr, 80).String())
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte(message)); err != nil {
		return "", err
	}
	answer := make([]byte, 2*len(message))
	n, err := conn.Read(answer)
	return string(answer[:n]), err
}

// claims asks the LAN, once, who has an address and returns the hardware addresses of all who answer within the given time.
func claims(addr netip.Addr, wait time.Duration) ([]string, error) {
	var macs []string
	err := lanClient.Do(func() error {
		ifi, err := net.InterfaceByName(lanClient.Interface())
		if err != nil {
			return err
		}
		if addr.Is4() {
			macs, err = arpClaims(ifi, addr, wait)
		} else {
			macs, err = ndpClaims(ifi, addr, wait)
		}
		return err
	})
	slices.Sort(macs)
	return slices.Compact(macs), err
}

func arpClaims(ifi *net.Interface, addr netip.Addr, wait time.Duration) ([]string, error) {
	c, err := arp.Dial(ifi)
	if err != nil {
		return nil, fmt.Errorf("open ARP socket: %w", err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(wait)); err != nil {
		return nil, err
	}
	if err := c.Request(addr); err != nil {
		return nil, fmt.Errorf("ask who has %s: %w", addr, err)
	}
	var macs []string
	for {
		p, _, err := c.Read()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return macs, nil
		case err != nil:
			return nil, fmt.Errorf("read ARP: %w", err)
		case p.Operation == arp.OperationReply && p.SenderIP == addr && bytes.Equal(p.TargetHardwareAddr, ifi.HardwareAddr):
			macs = append(macs, p.SenderHardwareAddr.String())
		}
	}
}

func ndpClaims(ifi *net.Interface, addr netip.Addr, wait time.Duration) ([]string, error) {
	c, _, err := ndp.Listen(ifi, ndp.LinkLocal)
	if err != nil {
		return nil, fmt.Errorf("open NDP socket: %w", err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(wait)); err != nil {
		return nil, err
	}
	group, err := ndp.SolicitedNodeMulticast(addr)
	if err != nil {
		return nil, err
	}
	solicitation := &ndp.NeighborSolicitation{
		TargetAddress: addr,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: ifi.HardwareAddr}},
	}
	if err := c.WriteTo(solicitation, nil, group); err != nil {
		return nil, fmt.Errorf("solicit %s: %w", addr, err)
	}
	var macs []string
	for {
		m, _, _, err := c.ReadFrom()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return macs, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read NDP: %w", err)
		}
		na, ok := m.(*ndp.NeighborAdvertisement)
		if !ok || na.TargetAddress != addr || !na.Solicited {
			continue
		}
		for _, o := range na.Options {
			if lla, ok := o.(*ndp.LinkLayerAddress); ok && lla.Direction == ndp.Target {
				macs = append(macs, lla.Addr.String())
			}
		}
	}
}
