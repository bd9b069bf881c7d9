package testenv

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// Apply makes the objects of YAML files, named from the module's root, that are not there yet.
func (e *Env) Apply(ctx context.Context, files ...string) error {
	root, err := Root()
	if err != nil {
		return err
	}
	c, err := client.New(e.Config, client.Options{})
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	for _, name := range files {
		raw, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return fmt.Errorf("read objects: %w", err)
		}
		for doc := range bytes.SplitSeq(raw, []byte("\n---\n")) {
			o := &unstructured.Unstructured{}
			if err := yaml.Unmarshal(doc, &o.Object); err != nil {
				return fmt.Errorf("read objects of %s: %w", name, err)
			}
			if err := c.Create(ctx, o); err != nil && !apierrors.IsAlreadyExists(err) {
				return fmt.Errorf("create %s %s of %s: %w", o.GetKind(), o.GetName(), name, err)
			}
		}
	}
	return nil
}

// Token of a ServiceAccount, which is made if it is not there.
func (e *Env) Token(ctx context.Context, namespace, name string) (string, error) {
	c, err := client.New(e.Config, client.Options{})
	if err != nil {
		return "", fmt.Errorf("make a client: %w", err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if err := c.Create(ctx, account); err != nil && !apierrors.IsAlreadyExists(err) {
		return "", fmt.Errorf("make ServiceAccount %s: %w", name, err)
	}
	token := &authenticationv1.TokenRequest{}
	if err := c.SubResource("token").Create(ctx, account, token); err != nil {
		return "", fmt.Errorf("make a token of ServiceAccount %s: %w", name, err)
	}
	return token.Status.Token, nil
}

// MetricsToken is a token of a ServiceAccount that may do what config/rbac lets readers of metrics do, and nothing else.
func (e *Env) MetricsToken(ctx context.Context, namespace, name string) (string, error) {
	c, err := client.New(e.Config, client.Options{})
	if err != nil {
		return "", fmt.Errorf("make a client: %w", err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "fairlead-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}},
	}
	if err := c.Create(ctx, binding); err != nil && !apierrors.IsAlreadyExists(err) {
		return "", fmt.Errorf("bind ServiceAccount %s: %w", name, err)
	}
	if err := e.Apply(ctx, "config/rbac/metrics_reader_role.yaml"); err != nil {
		return "", err
	}
	return e.Token(ctx, namespace, name)
}

// TokenKubeconfig writes a file with which programs reach the server by a token.
func (e *Env) TokenKubeconfig(token, path string) error {
	return write(&rest.Config{Host: e.Config.Host, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAData: e.Config.CAData}}, path)
}

// Scrape reads metrics as Prometheus does, by HTTPS, whatever the certificate, and with a token if there is one.
func Scrape(ctx context.Context, addr, token string) (code int, body string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+addr+"/metrics", http.NoBody)
	if err != nil {
		return 0, "", fmt.Errorf("scrape: %w", err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	c := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, ForceAttemptHTTP2: true, // if it is offered
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // the program signs its certificate itself
	}}
	resp, err := c.Do(r)
	if err != nil {
		return 0, "", fmt.Errorf("scrape: %w", err)
	}
	raw, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return 0, "", fmt.Errorf("scrape %s: %w", addr, err)
	}
	if resp.ProtoMajor != 1 {
		return 0, "", fmt.Errorf("scrape %s: it speaks %s", addr, resp.Proto)
	}
	return resp.StatusCode, string(raw), nil
}
