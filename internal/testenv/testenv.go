// Package testenv runs a real etcd and kube-apiserver for tests, with Fairlead's kinds installed. There are no other
// controllers, no nodes and no service accounts: what happens, the test and the code under test did.
//
// A package's TestMain calls Main, once; its tests share the server and keep apart by namespaces and names.
package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// Env is a running API server.
type Env struct {
	Config *rest.Config
	plane  *envtest.ControlPlane
	dir    string
}

// limitedGroup is the group of the users that UserKubeconfig makes. What they do is in the audit log, and nothing else.
const limitedGroup = "testenv:limited"

// patience with the server. It takes seconds where nothing else runs; but all packages' tests start at the same time, several with a server of
// their own, while others are being compiled.
const patience = 3 * time.Minute

const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  userGroups: ["` + limitedGroup + `"]
- level: None
`

// Start an API server with the binaries in bin/tools and the CRDs in config/crd/bases of the module. The service range is
// dual stack: 10.96.0.0/16 and fd00:96::/108.
func Start() (*Env, error) { return start(true) }

// StartEmpty is Start without Fairlead's kinds, for tests of what installs them.
func StartEmpty() (*Env, error) { return start(false) }

func start(kinds bool) (*Env, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	tools := filepath.Join(root, "bin", "tools")
	for _, name := range []string{"etcd", "kube-apiserver"} {
		if _, err := os.Stat(filepath.Join(tools, name)); err != nil {
			return nil, fmt.Errorf("find the API server's binaries (make builds them): %w", err)
		}
	}
	dir, err := os.MkdirTemp("", "fairlead-testenv-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the audit log: %w", err)
	}
	policy := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("write the audit policy: %w", err), os.RemoveAll(dir))
	}
	// Not by envtest.Environment, which gives up when there is no namespace 5 s after the server has started.
	plane := &envtest.ControlPlane{Etcd: &envtest.Etcd{Path: filepath.Join(tools, "etcd"), StartTimeout: patience, StopTimeout: patience}}
	plane.Etcd.Configure().Append("unsafe-no-fsync", "true")
	server := plane.GetAPIServer()
	server.Path, server.StartTimeout, server.StopTimeout = filepath.Join(tools, "kube-apiserver"), patience, patience
	server.Configure().
		Set("audit-policy-file", policy).
		Set("audit-log-path", filepath.Join(dir, auditLog)).
		Set("service-cluster-ip-range", "10.96.0.0/16,fd00:96::/108").
		Append("advertise-address", "127.0.0.1")
	if err := plane.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the API server: %w", err), os.RemoveAll(dir))
	}
	e := &Env{plane: plane, dir: dir}
	admin, err := plane.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}}, &rest.Config{QPS: 1000, Burst: 2000})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make the administrator: %w", err), e.Stop())
	}
	e.Config = admin.Config()
	if err := e.waitForNamespaces(); err != nil {
		return nil, errors.Join(err, e.Stop())
	}
	if kinds {
		if err := e.Install(filepath.Join(root, "config", "crd", "bases")); err != nil {
			return nil, errors.Join(err, e.Stop())
		}
	}
	return e, nil
}

// waitForNamespaces that the server makes itself, some time after it says that it is healthy.
func (e *Env) waitForNamespaces() error {
	c, err := client.New(e.Config, client.Options{})
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	for _, name := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem} {
		var last error
		if err := wait.PollUntilContextTimeout(context.Background(), 50*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
			last = c.Get(ctx, client.ObjectKey{Name: name}, &corev1.Namespace{})
			return last == nil, nil
		}); err != nil {
			return fmt.Errorf("wait for namespace %s: %w: %w", name, err, last)
		}
	}
	return nil
}

// Install the CRDs of a file, or of a folder of files, and wait until the server has their kinds.
func (e *Env) Install(path string) error {
	if _, err := envtest.InstallCRDs(e.Config, envtest.CRDInstallOptions{Paths: []string{path}, ErrorIfPathMissing: true, MaxTime: patience}); err != nil {
		return fmt.Errorf("install the CRDs of %s: %w", path, err)
	}
	return nil
}

// Stop ends the server.
func (e *Env) Stop() error {
	if err := errors.Join(e.plane.Stop(), os.RemoveAll(e.dir)); err != nil {
		return fmt.Errorf("stop the API server: %w", err)
	}
	return nil
}

// Kubeconfig writes a file with which programs reach the server as an administrator.
func (e *Env) Kubeconfig(path string) error { return write(e.Config, path) }

// UserKubeconfig writes a file with which programs reach the server as a user who may do nothing but what RBAC allows the name.
func (e *Env) UserKubeconfig(name, path string) error {
	user, err := e.plane.AddUser(envtest.User{Name: name, Groups: []string{limitedGroup}}, nil)
	if err != nil {
		return fmt.Errorf("make user %s: %w", name, err)
	}
	return write(user.Config(), path)
}

func write(config *rest.Config, path string) error {
	c := clientcmdapi.NewConfig()
	c.Clusters["test"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	c.AuthInfos["test"] = &clientcmdapi.AuthInfo{
		ClientCertificateData: config.CertData, ClientKeyData: config.KeyData, Token: config.BearerToken,
	}
	c.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "test"}
	c.CurrentContext = "test"
	if err := clientcmd.WriteToFile(*c, path); err != nil {
		return fmt.Errorf("write the kubeconfig: %w", err)
	}
	return nil
}

// Main runs a package's tests with a server, which it hands to use before the first.
func Main(m *testing.M, use func(*Env)) int {
	env, err := Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	use(env)
	code := m.Run()
	if err := env.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// Root is the folder of the module that the test runs in.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("find the module: no go.mod in any parent folder")
}
