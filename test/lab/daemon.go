//go:build linux

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// pollInterval is how often a condition outside of this process is looked at again.
const pollInterval = 100 * time.Millisecond

// daemon is a program that was started on a host and should go on running.
type daemon struct {
	name, host, log string
	ended           chan error // closed after its one value
}

// ensureDaemon starts a program on the host unless it runs already; then the daemon is nil.
func (h *Host) ensureDaemon(path string, args ...string) (*daemon, error) {
	i, err := h.init()
	if err != nil {
		return nil, err
	}
	running, err := i.Daemons(filepath.Base(path))
	if err != nil || len(running) > 0 {
		return nil, err
	}
	return h.startDaemon(filepath.Base(path), exec.CommandContext(context.Background(), path, args...)) // it outlives this process
}

// startDaemon starts a program in a session of its own: it outlives this process and ends with its host.
func (h *Host) startDaemon(name string, cmd *exec.Cmd) (*daemon, error) {
	d := &daemon{name: name, host: h.Name, log: h.dir("log", name+".log"), ended: make(chan error, 1)}
	log, err := os.OpenFile(d.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s on %s: %w", name, h.Name, err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = "/"
	// Nothing of the caller's surroundings: no proxy settings, no credentials, no home folder to write into.
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/run/tmp", "TMPDIR=/run/tmp"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := errors.Join(h.Start(cmd), log.Close()); err != nil {
		return nil, err
	}
	go func() {
		d.ended <- cmd.Wait()
		close(d.ended)
	}()
	return d, nil
}

// failure tells how a daemon ended, with the end of its log.
func (d *daemon) failure(cause error) error {
	const lines = 8
	text := "its log cannot be read"
	if raw, err := os.ReadFile(d.log); err == nil {
		all := strings.Split(string(bytes.TrimSpace(raw)), "\n")
		text = strings.Join(all[max(0, len(all)-lines):], "\n  ")
	}
	if cause == nil {
		cause = errors.New("exit status 0")
	}
	return fmt.Errorf("%s on %s has ended: %w; the end of %s:\n  %s", d.name, d.host, cause, d.log, text)
}

// await asks until it is answered without an error. It gives up when ctx ends or when a daemon that it depends on does.
func await(ctx context.Context, what string, ask func(context.Context) error, needs ...*daemon) error {
	var last error
	for {
		if last = ask(ctx); last == nil {
			return nil
		}
		for _, d := range needs {
			if d == nil {
				continue
			}
			select {
			case cause := <-d.ended:
				return fmt.Errorf("wait for %s: %w", what, d.failure(cause))
			default:
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w; at last: %w", what, ctx.Err(), last)
		case <-time.After(pollInterval):
		}
	}
}
