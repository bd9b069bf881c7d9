package controllers_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/discovery"
)

// requests that the API server has answered, by verb, resource and subresource: "PATCH services/status".
func requests(tb testing.TB, which string) int {
	tb.Helper()
	c, err := discovery.NewDiscoveryClientForConfig(env.Config)
	if err != nil {
		tb.Fatal(err)
	}
	raw, err := c.RESTClient().Get().AbsPath("/metrics").DoRaw(context.Background())
	if err != nil {
		tb.Fatal(err)
	}
	verb, path, _ := strings.Cut(which, " ")
	resource, subresource, _ := strings.Cut(path, "/")
	n := 0
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "apiserver_request_total{") && strings.Contains(line, `,resource="`+resource+`"`) &&
			strings.Contains(line, `,subresource="`+subresource+`"`) && strings.Contains(line, `,verb="`+verb+`"`) {
			value, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
			if err != nil {
				tb.Fatal(err)
			}
			n += int(value)
		}
	}
	return n
}

// createMany creates Services s-0 to s-(n-1), as fast as the API server takes them.
func createMany(tb testing.TB, ns string, n int) {
	tb.Helper()
	numbers := make(chan int)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := range numbers {
				// There are not as many node ports as that.
				svc := newService(ns, fmt.Sprintf("s-%d", i), func(s *corev1.Service) { s.Spec.AllocateLoadBalancerNodePorts = new(bool) })
				if tb.Failed() {
					continue
				}
				if err := kube.Create(context.Background(), svc); err != nil {
					tb.Error(err)
				}
			}
		})
	}
	for i := range n {
		numbers <- i
	}
	close(numbers)
	wg.Wait()
	if tb.Failed() {
		tb.FailNow()
	}
}

// assigned waits until n Services have addresses, and returns whose is which.
func assigned(tb testing.TB, ns string, n int) map[string]string {
	tb.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		list := services(tb, ns)
		unique(tb, list)
		has := make(map[string]string, n)
		for i := range list {
			if ip := ips(&list[i]); ip != "" {
				has[list[i].Name] = ip
			}
		}
		if len(has) == n {
			return has
		}
		if time.Now().After(deadline) {
			tb.Fatalf("%d of %d Services have addresses", len(has), n)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// poolCounted waits until the controller has taken the pool up.
func poolCounted(tb testing.TB, name string) {
	tb.Helper()
	eventually(tb, "the pool is ready", func() string {
		if getPool(tb, name).Status.IPv4.Available == 0 {
			return "it is not"
		}
		return ""
	})
}

// counted waits until the pool's status says that so many addresses are in use.
func counted(tb testing.TB, name string, n int64) {
	tb.Helper()
	eventually(tb, "the pool counts", func() string {
		if p := getPool(tb, name); p.Status.IPv4.Assigned != n {
			return fmt.Sprintf("%+v", p.Status.IPv4)
		}
		return ""
	})
}

// Two thousand Services at once: all get addresses, at a price of hardly more than one write each, and no more after a restart.
func TestManyServices(t *testing.T) {
	const n = 2000
	ns := namespace(t)
	create(t, newPool("web", "10.0.0.0/14"))
	c := run(t)
	poolCounted(t, "web")
	statusWrites, otherWrites, poolWrites := requests(t, "PATCH services/status"), requests(t, "PATCH services"), requests(t, "PATCH ipaddresspools/status")
	started := time.Now()
	createMany(t, ns, n)
	first := assigned(t, ns, n)
	counted(t, "web", n)
	took := time.Since(started)
	statusWrites, otherWrites, poolWrites = requests(t, "PATCH services/status")-statusWrites, requests(t, "PATCH services")-otherWrites,
		requests(t, "PATCH ipaddresspools/status")-poolWrites
	t.Logf("%d Services in %s: %d writes of status, %d of others, %d of the pool's status", n, took.Round(time.Millisecond), statusWrites, otherWrites, poolWrites)
	if statusWrites > n*12/10 || otherWrites > 0 {
		t.Errorf("%d Services took %d writes of status and %d others; want at most 1.2 a Service, and none", n, statusWrites, otherWrites)
	}
	if most := int(took/time.Second) + 2; poolWrites > most {
		t.Errorf("the pool's status was written %d times in %s; want at most once a second", poolWrites, took)
	}

	writes := requests(t, "PATCH services/status")
	c.kill()
	c = run(t)
	leads(t, c)
	create(t, newService(ns, "after"))
	eventually(t, "one more is served", func() string { // so all that the start found to do is done or queued before it
		if ips(get(t, ns, "after")) == "" {
			return "it is not"
		}
		return ""
	})
	for name, ip := range assigned(t, ns, n+1) {
		if name != "after" && first[name] != ip {
			t.Fatalf("%s had %s and has %s after a restart", name, first[name], ip)
		}
	}
	// The API server counts a request when it has answered it.
	eventually(t, "the write is counted", func() string {
		more := requests(t, "PATCH services/status") - writes
		if more > 1 {
			t.Fatalf("the restart and one more Service took %d writes of status, want 1", more)
		}
		if more < 1 {
			return "it is not"
		}
		return ""
	})
}

// BenchmarkServices is what the controller costs for Services that are created as fast as the API server takes them, and what a start with
// 5,000 of them and 100 that wait for an address takes. Run it without the race detector: go test -run '^$' -bench Services ./controllers
func BenchmarkServices(b *testing.B) {
	for _, n := range []int{1000, 2000} {
		b.Run(fmt.Sprintf("Create%d", n), func(b *testing.B) {
			for b.Loop() {
				ns := namespace(b)
				create(b, newPool("web", "10.0.0.0/14"))
				c := run(b)
				poolCounted(b, "web")
				before, writes := c.cpu(b), requests(b, "PATCH services/status")
				createMany(b, ns, n)
				assigned(b, ns, n)
				counted(b, "web", int64(n))
				b.ReportMetric((c.cpu(b) - before).Seconds(), "cpu-s")
				b.ReportMetric(float64(c.memory(b))/(1<<20), "rss-MiB")
				b.ReportMetric(float64(requests(b, "PATCH services/status")-writes)/float64(n), "writes/Service")
				c.stop()
				empty(b, ns)
			}
		})
	}
	b.Run("Restart5000", func(b *testing.B) {
		const n, wait = 5000, 100
		ns := namespace(b)
		create(b, newPool("web", "10.0.0.0-10.0.19.135"))
		c := run(b)
		createMany(b, ns, n+wait)
		first := assigned(b, ns, n)
		counted(b, "web", n)
		c.stop()
		for b.Loop() {
			started := time.Now()
			c = run(b)
			leads(b, c)
			b.ReportMetric(time.Since(started).Seconds(), "s-to-take-over")
			b.ReportMetric(c.cpu(b).Seconds(), "cpu-s")
			// A free address goes to the one that waits and is the oldest, after everything else is as it was.
			for name, ip := range assigned(b, ns, n) {
				if first[name] != ip {
					b.Fatalf("%s had %q and has %s after a restart", name, first[name], ip)
				}
			}
			b.ReportMetric(float64(c.memory(b))/(1<<20), "rss-MiB")
			c.stop()
		}
		empty(b, ns)
	})
}

// empty deletes a namespace's Services and the pools, faster than the cleanup would.
func empty(tb testing.TB, ns string) {
	tb.Helper()
	removeServices(tb, ns)
	removePools(tb)
}
