//go:build linux

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/vishvananda/netlink"

	"fairlead.io/fairlead/test/lab/internal/hostns"
	"fairlead.io/fairlead/test/lab/plan"
)

// ErrDegraded says that something of the lab does not run.
var ErrDegraded = errors.New("not everything of the lab runs: `bin/lab up` restarts what is missing")

// daemonsOf lists what runs on a host of each role.
func daemonsOf(role plan.Role) []string {
	switch role {
	case plan.ControlPlane:
		return []string{"etcd", apiServerProgram, "kube-controller-manager", "kube-scheduler"}
	case plan.Node:
		return []string{"containerd", "kubelet", "kube-proxy"}
	default:
		return nil
	}
}

// Status prints what the lab is and what of it runs. ErrDegraded when that is not all.
func (l *Lab) Status(ctx context.Context, w io.Writer) error {
	inits, err := hostns.Inits(l.cfg.Name)
	if err != nil {
		return err
	}
	client, err := l.api()
	if err != nil {
		return err
	}
	var text bytes.Buffer
	fmt.Fprintf(&text, "lab %s: %d nodes, proxy mode %s, files in %s\nexport KUBECONFIG=%s\n\n", l.cfg.Name, l.cfg.Nodes, l.cfg.ProxyMode, l.cfg.StateDir, l.Kubeconfig())
	t := tabwriter.NewWriter(&text, 0, 0, 3, ' ', 0)
	row := func(cells ...string) { _, _ = t.Write([]byte(strings.Join(cells, "\t") + "\n")) } // a buffer takes all
	row("HOST", "IPV4", "IPV6", "LINK", "RUNS", "STATE")
	degraded := false
	for _, h := range l.Hosts() {
		link, runs, state := "-", "-", "down"
		if i, ok := inits[h.Name]; ok {
			if link, err = h.link(); err != nil {
				return err
			}
			running, missing, err := daemons(i, h.Role)
			if err != nil {
				return err
			}
			runs, state = strings.Join(running, " "), "up"
			if len(missing) > 0 {
				state = "missing: " + strings.Join(missing, " ")
			} else if h.Role == plan.Node {
				state = "Ready"
				if err := client.nodeReady(ctx, h.Name); err != nil {
					state = err.Error()
				}
			}
		}
		degraded = degraded || (state != "up" && state != "Ready")
		row(h.Name, h.IPv4.String(), h.IPv6.String(), link, runs, state)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if _, err := text.WriteTo(w); err != nil {
		return err
	}
	if degraded {
		return ErrDegraded
	}
	return nil
}

func daemons(i hostns.Init, role plan.Role) (running, missing []string, err error) {
	for _, name := range daemonsOf(role) {
		pids, err := i.Daemons(name)
		if err != nil {
			return nil, nil, err
		}
		if len(pids) > 0 {
			running = append(running, name)
		} else {
			missing = append(missing, name)
		}
	}
	return running, missing, nil
}

// link is up or down, as the host sees its carrier.
func (h *Host) link() (string, error) {
	state := "down"
	err := h.Do(func() error {
		link, err := netlink.LinkByName(h.Interface())
		if err != nil {
			return fmt.Errorf("look at the link of %s: %w", h.Name, err)
		}
		if link.Attrs().OperState == netlink.OperUp {
			state = "up"
		}
		return nil
	})
	return state, err
}
