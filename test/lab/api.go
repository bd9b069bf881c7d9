//go:build linux

package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// apiPort is the API server's port on the control plane's host.
const apiPort = "6443"

func (l *Lab) apiAddr() string { return net.JoinHostPort(l.controlPlane().IPv4.String(), apiPort) }

// api is the little of the Kubernetes API that bringing a lab up needs. The whole client library would make the hosts'
// inits, which are the same program, several times as large.
type api struct {
	base, token string
	http        *http.Client
}

// statusError is an answer other than success.
type statusError struct {
	code int
	text string
}

func (e statusError) Error() string { return fmt.Sprintf("HTTP %d: %s", e.code, e.text) }

// api talks from the control plane's own host, so it needs no forwarder.
func (l *Lab) api() (*api, error) {
	tokens, err := l.readTokens()
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(l.secret("ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("read the lab's certificate authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("read the lab's certificate authority: no certificate in %s", l.secret("ca.crt"))
	}
	tlsConfig := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}
	return &api{base: "https://" + l.apiAddr(), token: tokens[adminUser], http: l.controlPlane().httpClient(5*time.Second, tlsConfig)}, nil
}

// call makes one request. A nil in sends no body, a nil out takes none.
func (a *api) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return err
	}
	raw, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %w", method, path, statusError{resp.StatusCode, string(bytes.TrimSpace(raw))})
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

func hasStatus(err error, code int) bool {
	var s statusError
	return errors.As(err, &s) && s.code == code
}

// condition of any Kubernetes object.
type condition struct {
	Type, Status, Message string
}

// node is what the lab reads and writes of a Node.
type node struct {
	APIVersion string `json:"apiVersion,omitempty"`
	Kind       string `json:"kind,omitempty"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		PodCIDR  string   `json:"podCIDR,omitempty"`
		PodCIDRs []string `json:"podCIDRs,omitempty"`
	} `json:"spec"`
	Status struct {
		Conditions []condition `json:"conditions,omitempty"`
	} `json:"status"`
}

// createNode makes the Node before its kubelet does, with the pod subnets of the plan.
func (a *api) createNode(ctx context.Context, h *Host) error {
	n := node{APIVersion: "v1", Kind: "Node"}
	n.Metadata.Name = h.Name
	n.Spec.PodCIDR = h.Pods4.String()
	n.Spec.PodCIDRs = []string{h.Pods4.String(), h.Pods6.String()}
	err := a.call(ctx, http.MethodPost, "/api/v1/nodes", n, nil)
	if err != nil && !hasStatus(err, http.StatusConflict) {
		return fmt.Errorf("create Node %s: %w", h.Name, err)
	}
	return nil
}

// nodeReady is nil when the Node is Ready, and says why it is not otherwise.
func (a *api) nodeReady(ctx context.Context, name string) error {
	var n node
	if err := a.call(ctx, http.MethodGet, "/api/v1/nodes/"+name, nil, &n); err != nil {
		return err
	}
	for _, c := range n.Status.Conditions {
		if c.Type == "Ready" {
			if c.Status == "True" {
				return nil
			}
			return fmt.Errorf("node %s is not Ready: %s", name, c.Message)
		}
	}
	return fmt.Errorf("node %s has not reported yet", name)
}
