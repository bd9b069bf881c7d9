//go:build linux

package lab

import (
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
	// LinkDown cuts the host's link at the bridge. The host sees its carrier go, like that of a pulled cable; everyone else
	// sees silence. It keeps its addresses and routes.
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
		err = netns.SetPort(h.lab.lanNamespace(), h.Name, f == LinkUp)
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
