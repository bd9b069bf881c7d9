package metrics

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

func parse(t *testing.T, args ...string) *Flags {
	t.Helper()
	var f Flags
	set := flag.NewFlagSet("", flag.ContinueOnError)
	f.Register(set)
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	return &f
}

func TestSecureByDefault(t *testing.T) {
	f := parse(t)
	if f.Address != ":9790" || !f.Secure {
		t.Errorf("metrics are served as %+v", f)
	}
	c, watch, err := f.tls()
	if err != nil {
		t.Fatal(err)
	}
	if watch != nil || c.MinVersion != tls.VersionTLS12 || len(c.NextProtos) != 1 || c.NextProtos[0] != "http/1.1" {
		t.Errorf("TLS is %+v", c)
	}
	cert, err := c.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	if cert.Leaf == nil || time.Until(cert.Leaf.NotAfter) < 9*365*24*time.Hour {
		t.Errorf("the certificate is %+v", cert.Leaf)
	}
}

func TestOtherwise(t *testing.T) {
	runnables := func(args ...string) ([]manager.Runnable, error) {
		return parse(t, args...).runnables(&rest.Config{}, http.DefaultClient, prometheus.NewRegistry(), logr.Discard())
	}
	if r, err := runnables("--metrics-bind-address=0"); err != nil || len(r) != 0 {
		t.Errorf("no metrics: %v, %v", r, err)
	}
	if _, err := runnables("--metrics-secure=false", "--metrics-cert-dir=/x"); err == nil || !strings.Contains(err.Error(), "leave one of them out") {
		t.Errorf("a certificate for plain metrics: %v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tls.crt"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := runnables("--metrics-cert-dir", dir); err == nil || !strings.Contains(err.Error(), "--metrics-cert-dir "+dir) || !strings.Contains(err.Error(), "tls.key") {
		t.Errorf("a folder without a key: %v", err)
	}
	if _, err := runnables("--metrics-bind-address=192.0.2.1:1"); err == nil || !strings.Contains(err.Error(), "--metrics-bind-address 192.0.2.1:1") {
		t.Errorf("an address of another host: %v", err)
	}
}

func TestBuildInfo(t *testing.T) {
	r := prometheus.NewRegistry()
	if err := RegisterBuildInfo(r); err != nil {
		t.Fatal(err)
	}
	if n, err := testutil.GatherAndCount(r, "fairlead_build_info"); n != 1 || err != nil {
		t.Errorf("%d series, %v", n, err)
	}
}

// A certificate that is replaced in its folder is served from then on.
func TestCertificateIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	put := func() []byte {
		c, err := selfSigned()
		if err != nil {
			t.Fatal(err)
		}
		key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		for name, block := range map[string]*pem.Block{keyName: {Type: "PRIVATE KEY", Bytes: key}, certName: {Type: "CERTIFICATE", Bytes: c.Certificate[0]}} {
			if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return c.Certificate[0]
	}
	first := put()
	addr := serve(t, &rest.Config{}, prometheus.NewRegistry(), "--metrics-cert-dir", dir)
	served := func(want []byte) {
		t.Helper()
		deadline := time.Now().Add(20 * time.Second)
		for {
			c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
			if err == nil {
				got := c.ConnectionState().PeerCertificates[0].Raw
				if err := c.Close(); err != nil {
					t.Fatal(err)
				}
				if bytes.Equal(got, want) {
					return
				}
			}
			if time.Now().After(deadline) {
				t.Fatalf("the certificate is not served: %v", err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	served(first)
	served(put())
}
