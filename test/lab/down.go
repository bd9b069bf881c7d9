//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"fairlead.io/fairlead/test/lab/internal/cgroup"
	"fairlead.io/fairlead/test/lab/internal/hostns"
	"fairlead.io/fairlead/test/lab/internal/netns"
)

// killTimeout bounds how long the kernel may take to end a host's processes.
const killTimeout = 30 * time.Second

// Down removes everything of the lab, whatever state it is in. Where there is nothing it does nothing.
func Down(ctx context.Context, cfg Config, progress io.Writer) (err error) {
	cfg, err = cfg.withDefaults()
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("taking a lab down needs root")
	}
	unlock, err := lock(ctx, cfg.Name, newReporter(progress))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	return remove(ctx, cfg)
}

// remove goes from what holds to what is held: processes, namespaces, control groups, files.
func remove(ctx context.Context, cfg Config) error {
	// Before anything is done: a folder that is not a lab's must stay.
	ours, err := isStateDir(cfg.StateDir)
	if err != nil {
		return err
	}
	if !ours {
		return fmt.Errorf("%s is not a lab's folder: it stays, and so does the lab", cfg.StateDir)
	}
	inits, err := hostns.Inits(cfg.Name)
	if err != nil {
		return err
	}
	var g errgroup.Group
	for _, i := range inits {
		g.Go(func() error { return i.Kill(killTimeout) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	names, err := namespaces(cfg.Name)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := netns.Remove(name); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	if err := cgroup.Remove(ctx, cgroupOf(cfg.Name)); err != nil {
		return err
	}
	if err := os.RemoveAll(cfg.StateDir); err != nil {
		return fmt.Errorf("remove the lab's folder: %w", err)
	}
	return nil
}
