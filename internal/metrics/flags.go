package metrics

import (
	"errors"
	"flag"
)

// Files of a certificate, as in a Secret of type kubernetes.io/tls.
const (
	certName = "tls.crt"
	keyName  = "tls.key"
)

// Flags say how the metrics are served.
type Flags struct {
	// Address to listen on; 0: metrics are not served.
	Address string
	// Secure: by HTTPS, with authentication and authorization.
	Secure bool
	// CertDir is a folder with a certificate and its key; empty: one is made, for as long as the program runs.
	CertDir string
}

// Register the flags in a set.
func (f *Flags) Register(set *flag.FlagSet) {
	set.StringVar(&f.Address, "metrics-bind-address", ":9790", "where metrics are served; 0: nowhere")
	set.BoolVar(&f.Secure, "metrics-secure", true, "serve metrics by HTTPS, to those whose token the API server knows and who may get /metrics; false: plainly, to everybody")
	set.StringVar(&f.CertDir, "metrics-cert-dir", "", "folder with "+certName+" and "+keyName+" for --metrics-secure, read again when they change; without it the program signs a certificate itself")
}

// Check what was given.
func (f *Flags) Check() error {
	if f.Address != "0" && !f.Secure && f.CertDir != "" {
		return errors.New("--metrics-cert-dir is of no use with --metrics-secure=false: leave one of them out")
	}
	return nil
}
