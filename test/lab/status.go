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

// daemons lists what runs on the host when all does.
func (h *Host) daemons() ([]string, error) {
	switch h.Role {
	case plan.ControlPlane:
		return []string{"etcd", apiServerProgram, "kube-controller-manager", "kube-scheduler"}, nil
	case plan.Node:
		return []string{"containerd", "kubelet", "kube-proxy"}, nil
	case plan.Router:
		r, err := h.lab.Router(h.Name)
		if err != nil {
			return nil, err
		}
		return r.daemons()
	default:
		return nil, nil
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
	healthy := 0
	for _, h := range l.Hosts() {
		link, runs, state := "-", "-", "down"
		if i, ok := inits[h.Name]; ok {
			if link, err = h.link(); err != nil {
				return err
			}
			running, missing, err := h.running(i)
			if err != nil {
				return err
			}
			runs, state = strings.Join(running, " "), "missing: "+strings.Join(missing, " ")
			if len(missing) == 0 {
				if state, err = h.state(ctx, client); err == nil {
					healthy++
				} else {
					state = strings.Join(strings.Fields(err.Error()), " ") // in one line
				}
			}
		}
		row(h.Name, h.IPv4.String(), h.IPv6.String(), link, runs, state)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if _, err := text.WriteTo(w); err != nil {
		return err
	}
	if healthy < len(l.Hosts()) {
		return ErrDegraded
	}
	return nil
}

// state is a word for a host on which everything runs, or an error when that is not enough.
func (h *Host) state(ctx context.Context, client *api) (string, error) {
	switch h.Role {
	case plan.Node:
		return "Ready", client.nodeReady(ctx, h.Name)
	case plan.Router:
		r, err := h.lab.Router(h.Name)
		if err != nil {
			return "", err
		}
		return r.state(ctx)
	default:
		return "up", nil
	}
}

// running looks for the host's daemons.
func (h *Host) running(i hostns.Init) (running, missing []string, err error) {
	names, err := h.daemons()
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
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
