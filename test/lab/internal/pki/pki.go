// Package pki makes the lab's certificate authority, the API server's serving certificate and the key that signs service
// account tokens. All of it lives as long as the lab and proves nothing outside of it.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"time"
)

// lifetime is far longer than any lab runs.
const lifetime = 365 * 24 * time.Hour

// Bundle holds everything, in PEM.
type Bundle struct {
	CACert                 []byte
	ServerCert, ServerKey  []byte
	AccountKey, AccountPub []byte
}

// New makes a bundle whose server certificate is valid for the names and addresses.
func New(now time.Time, names []string, addrs []netip.Addr) (Bundle, error) {
	// Clocks inside one machine agree, but a certificate valid from this very second looks like a mistake.
	from := now.Add(-time.Hour)
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Bundle{}, fmt.Errorf("make the authority's key: %w", err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "fairlead-lab-ca"},
		NotBefore: from, NotAfter: from.Add(lifetime),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return Bundle{}, fmt.Errorf("sign the authority's certificate: %w", err)
	}
	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Bundle{}, fmt.Errorf("make the API server's key: %w", err)
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "kube-apiserver"}, DNSNames: names,
		NotBefore: from, NotAfter: from.Add(lifetime),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, a := range addrs {
		server.IPAddresses = append(server.IPAddresses, net.IP(a.AsSlice()))
	}
	serverDER, err := x509.CreateCertificate(rand.Reader, server, ca, &serverKey.PublicKey, caKey)
	if err != nil {
		return Bundle{}, fmt.Errorf("sign the API server's certificate: %w", err)
	}
	b := Bundle{CACert: encode("CERTIFICATE", caDER), ServerCert: encode("CERTIFICATE", serverDER)}
	if b.ServerKey, err = encodeKey(serverKey); err != nil {
		return Bundle{}, fmt.Errorf("encode the API server's key: %w", err)
	}
	accountKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Bundle{}, fmt.Errorf("make the service accounts' key: %w", err)
	}
	if b.AccountKey, err = encodeKey(accountKey); err != nil {
		return Bundle{}, fmt.Errorf("encode the service accounts' key: %w", err)
	}
	pub, err := x509.MarshalPKIXPublicKey(&accountKey.PublicKey)
	if err != nil {
		return Bundle{}, fmt.Errorf("encode the service accounts' public key: %w", err)
	}
	b.AccountPub = encode("PUBLIC KEY", pub)
	return b, nil
}

func encodeKey(k *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, err
	}
	return encode("PRIVATE KEY", der), nil
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
