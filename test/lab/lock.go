//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// lock lets one Up or Down at a time work on a lab. It is an abstract socket, so that it leaves no file and ends with
// its holder, however that ends.
func lock(ctx context.Context, name string, report reporter) (unlock func() error, err error) {
	told := false
	for {
		l, err := new(net.ListenConfig).Listen(ctx, "unix", "@fairlead-lab/"+name)
		if err == nil {
			return l.Close, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("lock lab %s: %w", name, err)
		}
		if !told {
			report("another command works on lab %s: waiting for it to end", name)
			told = true
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("lock lab %s: another command works on it: %w", name, ctx.Err())
		case <-time.After(pollInterval):
		}
	}
}
