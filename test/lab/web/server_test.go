package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// start runs a server on both loopback addresses and returns it, what stops it, what ends its delay after that, and what tells its end.
func start(t *testing.T) (s *server, stop, enough func(), done <-chan error) {
	t.Helper()
	s = newServer("pod-1")
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		if err := s.listen(t.Context(), addr); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	result, delay := make(chan error, 1), make(chan time.Time)
	go func() { result <- s.serve(ctx, func() <-chan time.Time { return delay }, time.Minute) }()
	t.Cleanup(cancel)
	return s, cancel, func() { close(delay) }, result
}

func get(t *testing.T, l net.Listener, path string) (int, string) {
	t.Helper()
	c := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get("http://" + l.Addr().String() + path)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestAnswers(t *testing.T) {
	s, stop, enough, done := start(t)
	for i, want := range []string{"127.0.0.1", "::1"} {
		if code, body := get(t, s.tcp[i], "/"); code != 200 || body != "Hello World!\npod-1\n" {
			t.Errorf("GET / over %s = %d %q", want, code, body)
		}
		if code, body := get(t, s.tcp[i], "/healthz"); code != 200 || body != "ok\n" {
			t.Errorf("GET /healthz over %s = %d %q", want, code, body)
		}
		if code, _ := get(t, s.tcp[i], "/elsewhere"); code != 404 {
			t.Errorf("GET /elsewhere over %s = %d, want 404", want, code)
		}
		_, body := get(t, s.tcp[i], "/client")
		var answer struct {
			Address, Hostname string
			Port              uint16
		}
		if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Address != want || answer.Hostname != "pod-1" || answer.Port == 0 {
			t.Errorf("GET /client = %q (%v), want address %s", body, err, want)
		}
	}
	stop()
	enough()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestEchoesUDP(t *testing.T) {
	s, stop, enough, done := start(t)
	for i, p := range s.udp {
		if p.LocalAddr().String() != s.tcp[i].Addr().String() {
			t.Errorf("UDP on %s, TCP on %s, want one port", p.LocalAddr(), s.tcp[i].Addr())
		}
		c, err := net.Dial("udp", p.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("ping")); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 16)
		if n, err := c.Read(buf); err != nil || string(buf[:n]) != "ping" {
			t.Errorf("echo = %q, %v", buf[:n], err)
		}
	}
	stop()
	enough()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A terminating server says 503 to the probe, goes on serving, and ends open streams with a whole line.
func TestTerminatesButServes(t *testing.T) {
	s, stop, enough, done := start(t)
	resp, err := http.Get("http://" + s.tcp[0].Addr().String() + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(resp.Body)
	if !lines.Scan() || lines.Text() != "1 pod-1" {
		t.Fatalf("first line of the stream = %q", lines.Text())
	}
	stop()
	for {
		if code, _ := get(t, s.tcp[0], "/healthz"); code == http.StatusServiceUnavailable {
			break
		}
	}
	if code, body := get(t, s.tcp[0], "/"); code != 200 || !strings.HasPrefix(body, "Hello World!") {
		t.Errorf("while terminating GET / = %d %q", code, body)
	}
	enough()
	last := ""
	for lines.Scan() {
		last = lines.Text()
	}
	if err := lines.Err(); err != nil || last != "end" {
		t.Errorf("the stream ended with %q, %v, want the line \"end\"", last, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestRunRefuses(t *testing.T) {
	for _, args := range [][]string{{"stray"}, {"--listen", "nonsense"}, {"--no-such-flag"}} {
		if err := run(context.Background(), args); err == nil {
			t.Errorf("run(%q) gave no error", args)
		}
	}
}
