package standstill

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const least = 2 * time.Second

// A process that does not run finds out when it runs again, and one that runs has nothing to tell.
func TestWatch(t *testing.T) {
	const child = "FAIRLEAD_TEST_STANDSTILL"
	if os.Getenv(child) != "" {
		ctx, cancel := context.WithCancel(t.Context())
		fmt.Println("watching")
		Watch(ctx, least, func(gap time.Duration) {
			fmt.Println(gap.Milliseconds())
			cancel()
		})
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestWatch$")
	cmd.Env = append(os.Environ(), child+"=yes")
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewScanner(pipe)
	if !out.Scan() || out.Text() != "watching" {
		t.Fatalf("it says %q", out.Text())
	}
	<-time.After(least + 2*Interval) // it runs, and would tell now if it thought otherwise
	if err := cmd.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	<-time.After(least + 2*Interval)
	stood := time.Since(stopped)
	if err := cmd.Process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	var gap int
	if !out.Scan() {
		t.Fatal("it tells nothing")
	}
	if _, err := fmt.Sscan(out.Text(), &gap); err != nil || time.Duration(gap)*time.Millisecond < stood-10*time.Millisecond {
		t.Errorf("it says %q, and stood still for %s", out.Text(), stood)
	}
	for out.Scan() { // what the test's program says at its end
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
