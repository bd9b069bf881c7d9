package pki

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/netip"
	"testing"
	"time"
)

func TestNew(t *testing.T) {
	now := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	b, err := New(now, []string{"kubernetes.default.svc"}, []netip.Addr{netip.MustParseAddr("192.168.100.10"), netip.MustParseAddr("fd00:10:96::1")})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(b.ServerCert, b.ServerKey)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(b.CACert) {
		t.Fatal("the authority's certificate cannot be read")
	}
	for _, name := range []string{"kubernetes.default.svc", "192.168.100.10", "fd00:10:96::1"} {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: now}); err != nil {
			t.Errorf("certificate is not valid for %s: %v", name, err)
		}
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: "example.org", Roots: roots, CurrentTime: now}); err == nil {
		t.Error("certificate is valid for a name it was not made for")
	}
	for name, data := range map[string][]byte{"private": b.AccountKey, "public": b.AccountPub} {
		if block, rest := pem.Decode(data); block == nil || len(rest) > 0 {
			t.Errorf("the service accounts' %s key is not one PEM block", name)
		}
	}
}
