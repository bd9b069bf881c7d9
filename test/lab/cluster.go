//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"time"

	"golang.org/x/sync/errgroup"
)

const containerdSocket = "/run/containerd/containerd.sock"

// auditPolicy has all that Fairlead asks the API server for written down: who, what, and whether that was allowed.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, userGroups: ["system:serviceaccounts:` + Namespace + `"]}
- {level: None}
`

// AuditLog is the file in which the API server writes down what Fairlead asks it for, for as long as the lab is up.
func (l *Lab) AuditLog() string { return l.controlPlane().dir("audit.log") }

// startControlPlane starts etcd and the API server and returns when the API answers.
func (l *Lab) startControlPlane(ctx context.Context, client *api) error {
	cp := l.controlPlane()
	etcd, err := cp.ensureDaemon(l.tool("etcd"),
		"--data-dir="+cp.dir("etcd"),
		"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
		"--initial-cluster=default=http://127.0.0.1:2380",
		"--unsafe-no-fsync", "--log-level=warn")
	if err != nil {
		return err
	}
	if err := replaceFile(cp.dir("audit.yaml"), []byte(auditPolicy)); err != nil {
		return err
	}
	server, err := cp.ensureDaemon(l.tool(apiServerProgram),
		"--etcd-servers=http://127.0.0.1:2379",
		"--bind-address=::", "--secure-port="+apiPort, "--advertise-address="+cp.IPv4.String(),
		fmt.Sprintf("--service-cluster-ip-range=%s,%s", l.plan.Services4, l.plan.Services6),
		"--authorization-mode=Node,RBAC", "--token-auth-file="+l.secret("tokens.csv"), "--allow-privileged=true",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+l.secret("sa.pub"), "--service-account-signing-key-file="+l.secret("sa.key"),
		"--tls-cert-file="+l.secret("apiserver.crt"), "--tls-private-key-file="+l.secret("apiserver.key"), "--cert-dir="+cp.dir("apiserver"),
		// One file: by default what is past 100 MB would be moved elsewhere.
		"--audit-policy-file="+cp.dir("audit.yaml"), "--audit-log-path="+l.AuditLog(), "--audit-log-maxsize=10000",
		"--kubelet-preferred-address-types=InternalIP")
	if err != nil {
		return err
	}
	return await(ctx, "the API server", func(ctx context.Context) error {
		return client.call(ctx, http.MethodGet, "/readyz", nil, nil)
	}, etcd, server)
}

// startControllers starts what works through the API, and returns when Pods can be created.
func (l *Lab) startControllers(ctx context.Context, client *api) error {
	cp := l.controlPlane()
	manager, err := cp.ensureDaemon(l.tool("kube-controller-manager"),
		"--kubeconfig="+cp.dir("manager.kubeconfig"), "--bind-address=127.0.0.1", "--leader-elect=false",
		"--use-service-account-credentials", "--service-account-private-key-file="+l.secret("sa.key"), "--root-ca-file="+l.secret("ca.crt"),
		"--flex-volume-plugin-dir="+cp.dir("volume-plugins"), "--v=2")
	if err != nil {
		return err
	}
	scheduler, err := cp.ensureDaemon(l.tool("kube-scheduler"),
		"--kubeconfig="+cp.dir("scheduler.kubeconfig"), "--bind-address=127.0.0.1", "--leader-elect=false")
	if err != nil {
		return err
	}
	return await(ctx, "the default ServiceAccount", func(ctx context.Context) error {
		return client.call(ctx, http.MethodGet, "/api/v1/namespaces/default/serviceaccounts/default", nil, nil)
	}, manager, scheduler)
}

// startRuntime starts the node's containerd and gives it its images; the API server may not be up yet.
func (l *Lab) startRuntime(ctx context.Context, h *Host) error {
	containerd, err := exec.LookPath("containerd")
	if err != nil {
		return fmt.Errorf("start containerd on %s: %w", h.Name, err)
	}
	runtime, err := h.ensureDaemon(containerd, "--config="+h.dir("containerd.toml"))
	if err != nil {
		return err
	}
	i, err := h.init()
	if err != nil {
		return err
	}
	err = await(ctx, "containerd on "+h.Name, func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", i.Path(containerdSocket))
		if err != nil {
			return err
		}
		return conn.Close()
	}, runtime)
	if err != nil {
		return err
	}
	for _, archive := range l.systemImages() {
		if err := h.loadImage(ctx, archive); err != nil {
			return err
		}
	}
	return nil
}

// startNode starts what needs the API, and returns when the node is Ready and its kube-proxy in step.
func (l *Lab) startNode(ctx context.Context, h *Host, client *api) error {
	// The API server may be busy finding a restarted etcd again.
	err := await(ctx, "Node "+h.Name+" to be created", func(ctx context.Context) error { return client.createNode(ctx, h) })
	if err != nil {
		return err
	}
	kubelet, err := h.ensureDaemon(l.tool("kubelet"),
		"--config="+h.dir("kubelet.yaml"), "--kubeconfig="+h.dir("kubelet.kubeconfig"),
		"--hostname-override="+h.Name, fmt.Sprintf("--node-ip=%s,%s", h.IPv4, h.IPv6), "--v=2")
	if err != nil {
		return err
	}
	proxy, err := h.ensureDaemon(l.tool("kube-proxy"), "--config="+h.dir("kube-proxy.yaml"), "--v=2")
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.Go(func() error {
		return await(ctx, "node "+h.Name, func(ctx context.Context) error { return client.nodeReady(ctx, h.Name) }, kubelet)
	})
	g.Go(func() error {
		return await(ctx, "kube-proxy on "+h.Name, h.proxyHealthy, proxy)
	})
	return g.Wait()
}

// proxyHealthy asks kube-proxy's health endpoint, which load balancers ask too.
func (h *Host) proxyHealthy(ctx context.Context) error {
	url := "http://" + netip.AddrPortFrom(h.IPv4, 10256).String() + "/healthz"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := h.HTTPClient(2 * time.Second).Do(req)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("kube-proxy's health endpoint says %s", resp.Status)
	}
	return errors.Join(err, resp.Body.Close())
}
