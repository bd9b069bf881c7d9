//go:build linux

// Command lab brings up a real Kubernetes cluster in network namespaces on this machine, acts on it, and takes it down.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"fairlead.io/fairlead/test/lab"
	"fairlead.io/fairlead/test/lab/internal/hostns"
)

func main() {
	// What enters other namespaces does so on other threads; this one stays what the process is known by.
	runtime.LockOSThread()
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	// A host's own programs, which no person calls.
	if len(args) > 0 {
		switch args[0] {
		case hostns.InitCommand:
			spec, err := hostns.ParseArgs(args)
			if err == nil {
				err = hostns.RunInit(spec)
			}
			return exitCode(err)
		case lab.ForwardCommand:
			if len(args) != 2 {
				return exitCode(fmt.Errorf("%s wants one address", lab.ForwardCommand))
			}
			return exitCode(lab.Forward(args[1]))
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	cmd := newCommand()
	cmd.SetArgs(args)
	return exitCode(cmd.ExecuteContext(ctx))
}

// exitCode passes the code of a command on a host through, and says what else went wrong.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return 128 + int(ws.Signal())
		}
		return exit.ExitCode()
	}
	fmt.Fprintln(os.Stderr, "lab:", err)
	return 1
}
