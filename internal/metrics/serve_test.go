package metrics

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// serve metrics on the loopback interface for as long as the test runs, and return where.
func serve(t *testing.T, config *rest.Config, metrics prometheus.Gatherer, args ...string) string {
	t.Helper()
	runnables, err := parse(t, append([]string{"--metrics-bind-address=127.0.0.1:0"}, args...)...).runnables(config, http.DefaultClient, metrics, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	var addr string
	for _, r := range runnables {
		if s, ok := r.(*manager.Server); ok {
			addr = s.Listener.Addr().String()
		}
		wg.Go(func() {
			if err := r.Start(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
	}
	return addr
}

// apiServer answers reviews: token good may read metrics.
func apiServer(t *testing.T) *rest.Config {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.HasSuffix(r.URL.Path, "/tokenreviews"):
			fmt.Fprintf(w, `{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","status":{"authenticated":%t,"user":{"username":"reader"}}}`, strings.Contains(string(body), `"good"`))
		case strings.HasSuffix(r.URL.Path, "/subjectaccessreviews"):
			fmt.Fprint(w, `{"kind":"SubjectAccessReview","apiVersion":"authorization.k8s.io/v1","status":{"allowed":true}}`)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return &rest.Config{Host: s.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}
}

// What is sent byte by byte gets through only as it should, and who is refused does not stay.
func TestByHand(t *testing.T) {
	registry := prometheus.NewRegistry()
	if err := RegisterBuildInfo(registry); err != nil {
		t.Fatal(err)
	}
	addr := serve(t, apiServer(t), registry)
	const good = "Authorization: Bearer good\r\n"
	for _, tc := range []struct {
		name, request string
		code          int
	}{
		{"a good token", "GET /metrics HTTP/1.1\r\nHost: x\r\n" + good + "\r\n", 200},
		{"in other letters", "GET /metrics HTTP/1.1\r\nhost: x\r\nAUTHORIZATION: bearer good\r\n\r\n", 200},
		{"with a query", "GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n" + good + "\r\n", 200},
		{"none", "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 401},
		{"none, HTTP/1.0", "GET /metrics HTTP/1.0\r\n\r\n", 401},
		{"none, of a proxy", "GET http://x/metrics HTTP/1.1\r\nHost: x\r\n\r\n", 401},
		{"an empty one", "GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \r\n\r\n", 401},
		{"a bad one before a good one", "GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer bad\r\n" + good + "\r\n", 401},
		{"another path", "GET /metrics/ HTTP/1.1\r\nHost: x\r\n" + good + "\r\n", 404},
		{"a path to be cleaned", "GET //metrics HTTP/1.1\r\nHost: x\r\n" + good + "\r\n", 404},
		{"a profile", "GET /debug/pprof/ HTTP/1.1\r\nHost: x\r\n" + good + "\r\n", 404},
		{"another method", "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n" + good + "\r\n", 405},
		{"a tunnel", "CONNECT /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 405},
		{"about the server", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 404},
		{"too much", "GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", headers+8<<10) + "\r\n" + good + "\r\n", 431},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := io.WriteString(c, tc.request); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil && tc.code == http.StatusOK {
				t.Fatal(err)
			}
			if resp.StatusCode != tc.code || strings.Contains(string(body), "fairlead_build_info") != (tc.code == http.StatusOK) || resp.Close != (tc.code != http.StatusOK) {
				t.Errorf("%d, want %d; closed: %t; %s", resp.StatusCode, tc.code, resp.Close, body)
			}
		})
	}
}

// Connections are bounded, those of one host and those of all, and one that ends makes room.
func TestConnectionsAreBounded(t *testing.T) {
	l := limit(nil)
	host := func(i int) string { return source(fmt.Sprintf("192.0.2.%d:1", i)) }
	enter := func(from string, times int) (in int) {
		for range times {
			if l.enter(from) {
				in++
			}
		}
		return in
	}
	if in := enter(host(1), 1000); in != perSource {
		t.Errorf("one host has %d connections, want %d", in, perSource)
	}
	l.leave(host(1))
	if in := enter(host(1), 2); in != 1 {
		t.Errorf("in place of one that ended there are %d, want 1", in)
	}
	total := perSource
	for i := range 200 {
		total += enter(host(2+i), 1)
	}
	if total != connections || l.all != connections {
		t.Errorf("there are %d connections, and %d are counted, want %d", total, l.all, connections)
	}
	for from, n := range l.of {
		for range n {
			l.leave(from)
		}
	}
	if l.all != 0 || len(l.of) != 0 {
		t.Errorf("without connections %d are counted, of %v", l.all, l.of)
	}
}

// A host that opens connections and says nothing has no more than its share, and gets in again when it closes them.
func TestConnectionsOfOneHost(t *testing.T) {
	addr := serve(t, apiServer(t), prometheus.NewRegistry(), "--metrics-secure=false")
	open := func() (net.Conn, error) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return c, err
		}
		_, err = c.Read(make([]byte, 12)) // it is accepted
		return c, err
	}
	var all []net.Conn
	for i := range perSource {
		c, err := open()
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		all = append(all, c)
	}
	c, err := open()
	if err == nil {
		t.Error("one more is served")
	}
	_ = c.Close()
	for _, c := range all {
		_ = c.Close()
	}
	for {
		c, err := open()
		_ = c.Close()
		if err == nil {
			return
		}
	}
}
