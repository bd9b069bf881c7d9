//go:build linux

package lab

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/test/lab/internal/netns"
	"fairlead.io/fairlead/test/lab/plan"
)

// Fault is something that goes wrong on a host, or its end.
type Fault string

// The faults.
const (
	// LinkDown cuts the host's link at the bridge: to the LAN, or, of ext, to the network behind the routers. The host sees its carrier go,
	// like that of a pulled cable; everyone else sees silence. It keeps its addresses and routes.
	LinkDown Fault = "link-down"
	// LinkUp ends LinkDown.
	LinkUp Fault = "link-up"
	// KillSpeaker sends SIGKILL to the host's speaker. kubelet starts it again.
	KillSpeaker Fault = "kill-speaker"
	// StopSpeaker sends SIGTERM to the host's speaker. kubelet starts it again.
	StopSpeaker Fault = "stop-speaker"
	// PauseAPIServer stops the API server as it stands: connections stay open and are accepted, nothing is answered.
	PauseAPIServer Fault = "pause-apiserver"
	// ResumeAPIServer ends PauseAPIServer.
	ResumeAPIServer Fault = "resume-apiserver"
)

const (
	speakerProgram   = "fairlead-speaker"
	apiServerProgram = "kube-apiserver"
)

// Faults lists all faults.
func Faults() []Fault {
	return []Fault{LinkDown, LinkUp, KillSpeaker, StopSpeaker, PauseAPIServer, ResumeAPIServer}
}

// Fault makes something go wrong on the host, or ends it.
func (h *Host) Fault(f Fault) error {
	var err error
	switch f {
	case LinkDown, LinkUp:
		err = netns.SetPort(h.network(), h.Name, f == LinkUp)
	case KillSpeaker:
		err = h.Signal(speakerProgram, unix.SIGKILL)
	case StopSpeaker:
		err = h.Signal(speakerProgram, unix.SIGTERM)
	case PauseAPIServer, ResumeAPIServer:
		if h.Role != plan.ControlPlane {
			return fmt.Errorf("fault %s: the API server runs on %s, not on %s", f, h.lab.controlPlane().Name, h.Name)
		}
		sig := unix.SIGSTOP
		if f == ResumeAPIServer {
			sig = unix.SIGCONT
		}
		err = h.Signal(apiServerProgram, sig)
	default:
		return fmt.Errorf("unknown fault %q: want one of %s", f, faultNames())
	}
	if err != nil {
		return fmt.Errorf("fault %s on %s: %w", f, h.Name, err)
	}
	return nil
}

func faultNames() string {
	var names []string
	for f := range slices.Values(Faults()) {
		names = append(names, string(f))
	}
	return strings.Join(names, ", ")
}

// dropTable is the table of nftables that DropPorts fills.
const dropTable = "inet fairlead-lab-fault"

// DropPorts makes the host drop what other hosts send it to or from TCP and UDP ports, by IPv4 and IPv6, until AcceptPorts. What it
// sends goes out all the same, and nobody is told that anything is dropped.
func (h *Host) DropPorts(ctx context.Context, from []*Host, ports ...uint16) error {
	var macs, numbers []string
	for _, f := range from {
		macs = append(macs, f.MAC.String())
	}
	for _, p := range ports {
		numbers = append(numbers, fmt.Sprint(p))
	}
	rules := fmt.Sprintf("add table %[1]s; add chain %[1]s in { type filter hook input priority -400; }", dropTable)
	for _, end := range []string{"dport", "sport"} {
		rules += fmt.Sprintf("; add rule %s in ether saddr { %s } meta l4proto { tcp, udp } th %s { %s } drop",
			dropTable, strings.Join(macs, ", "), end, strings.Join(numbers, ", "))
	}
	if _, err := h.Exec(ctx, "nft", rules); err != nil {
		return fmt.Errorf("drop ports %s on %s: %w", strings.Join(numbers, ", "), h.Name, err)
	}
	return nil
}

// AcceptPorts ends DropPorts, however often that was called.
func (h *Host) AcceptPorts(ctx context.Context) error {
	// To add what is there is no error; to delete what is not is one.
	if _, err := h.Exec(ctx, "nft", fmt.Sprintf("add table %[1]s; delete table %[1]s", dropTable)); err != nil {
		return fmt.Errorf("accept all ports on %s: %w", h.Name, err)
	}
	return nil
}
