//go:build linux

package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/test/lab/internal/hostns"
	"fairlead.io/fairlead/test/lab/internal/netns"
	"fairlead.io/fairlead/test/lab/plan"
)

// Host is one machine of a lab.
type Host struct {
	plan.Host
	lab *Lab
}

// Interface is the name of the host's leg on the LAN, or, of ext, on the network behind the routers.
func (h *Host) Interface() string { return plan.Interface }

// Namespace is the name of the host's network namespace, for ip-netns(8).
func (h *Host) Namespace() string { return namespacePrefix(h.lab.cfg.Name) + h.Name }

// dir is the host's folder on disk.
func (h *Host) dir(elem ...string) string {
	return filepath.Join(append([]string{h.lab.hostSpec(h.Name).Dir}, elem...)...)
}

// init finds the host's init; the host is down without it.
func (h *Host) init() (hostns.Init, error) {
	inits, err := hostns.Inits(h.lab.cfg.Name)
	if err != nil {
		return hostns.Init{}, err
	}
	i, ok := inits[h.Name]
	if !ok {
		return i, fmt.Errorf("host %s is not running: run `bin/lab up`", h.Name)
	}
	return i, nil
}

// Start starts cmd on the host, in all of its namespaces. Wait, pipes and the rest of exec.Cmd work as ever.
func (h *Host) Start(cmd *exec.Cmd) error {
	i, err := h.init()
	if err != nil {
		return err
	}
	return i.Start(cmd)
}

// Result is what a command wrote.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Exec runs a command on the host to its end. The error says if it could not run, ctx ended it, or it exited with another
// code than 0; the Result holds what it wrote in any case.
func (h *Host) Exec(ctx context.Context, command ...string) (Result, error) {
	return h.execInput(ctx, nil, command...)
}

func (h *Host) execInput(ctx context.Context, stdin *os.File, command ...string) (Result, error) {
	result, err := h.exec(ctx, stdin, command)
	if err != nil {
		err = fmt.Errorf("run %q on %s: %w: %s", strings.Join(command, " "), h.Name, err, strings.TrimSpace(result.Stderr))
	}
	return result, err
}

// exec is Exec with an error that does not repeat the command.
func (h *Host) exec(ctx context.Context, stdin *os.File, command []string) (Result, error) {
	if len(command) == 0 {
		return Result{}, errors.New("no command to run")
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if stdin != nil {
		cmd.Stdin = stdin
	}
	// The command's own children end with it, and hold no pipe open.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	if err := h.Start(cmd); err != nil {
		return Result{Code: -1}, err
	}
	err := cmd.Wait()
	result := Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}
	if err != nil {
		if ctx.Err() != nil {
			err = errors.Join(ctx.Err(), err)
		}
		return result, err
	}
	return result, nil
}

// Do runs fn on a thread inside the host's network namespace. Sockets that fn opens stay on the host for ever; goroutines
// that fn starts are not on the host.
func (h *Host) Do(fn func() error) error {
	return netns.Do(h.Namespace(), fn)
}

// Dial connects from the host. The address must hold an IP address, because nothing on a host resolves names.
func (h *Host) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if _, err := netip.ParseAddrPort(addr); err != nil {
		return nil, fmt.Errorf("dial from %s: want an IP address and a port: %w", h.Name, err)
	}
	var conn net.Conn
	err := h.Do(func() error {
		var err error
		conn, err = new(net.Dialer).DialContext(ctx, network, addr)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("dial from %s: %w", h.Name, err)
	}
	return conn, nil
}

// HTTPClient makes requests from the host, each over a connection of its own. URLs must hold IP addresses.
func (h *Host) HTTPClient(timeout time.Duration) *http.Client {
	return h.httpClient(timeout, nil)
}

func (h *Host) httpClient(timeout time.Duration, tlsConfig *tls.Config) *http.Client {
	return &http.Client{
		Timeout:   timeout,
		Transport: &http.Transport{DialContext: h.Dial, DisableKeepAlives: true, TLSClientConfig: tlsConfig},
	}
}

// Processes lists the process numbers, as this machine counts, of a program on the host, in pods or outside of them. A
// program is known by the name of its file, such as fairlead-speaker.
func (h *Host) Processes(program string) ([]int, error) {
	i, err := h.init()
	if err != nil {
		return nil, err
	}
	return i.Processes(program)
}

// Signal sends a signal to all processes of a program on the host, in pods or outside of them. That there is none is an error.
func (h *Host) Signal(program string, sig unix.Signal) error {
	i, err := h.init()
	if err != nil {
		return err
	}
	n, err := i.Signal(program, sig)
	if err != nil {
		return err
	}
	if n == 0 {
		return fmt.Errorf("%s does not run on %s", program, h.Name)
	}
	return nil
}
