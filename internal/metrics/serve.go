package metrics

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	stdlog "log" //nolint:depguard // http.Server wants it
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

const path = "/metrics"

// What one connection may take of time and memory.
const (
	headers   = 16 << 10 // bytes; a token has one or two thousand
	toBeAsked = 5 * time.Second
	toBeRead  = 30 * time.Second
	betweenBy = 90 * time.Second // two scrapes by one connection
	gathers   = 8                // at once; each has all metrics in memory until they are read
)

// Add to a manager what serves the metrics. Its own server of them must be off: that one does not bound its connections.
func (f *Flags) Add(mgr manager.Manager, metrics prometheus.Gatherer) error {
	runnables, err := f.runnables(mgr.GetConfig(), mgr.GetHTTPClient(), metrics, mgr.GetLogger().WithName("metrics"))
	if err != nil {
		return err
	}
	for _, r := range runnables {
		if err := mgr.Add(r); err != nil {
			return fmt.Errorf("set up the metrics: %w", err)
		}
	}
	return nil
}

func (f *Flags) runnables(config *rest.Config, client *http.Client, metrics prometheus.Gatherer, log logr.Logger) ([]manager.Runnable, error) {
	if err := f.Check(); err != nil {
		return nil, err
	}
	if f.Address == "0" {
		return nil, nil
	}
	handler := promhttp.HandlerFor(metrics, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError, MaxRequestsInFlight: gathers})
	var runnables []manager.Runnable
	var secure *tls.Config
	if f.Secure {
		ask, err := asker(config, client)
		if err != nil {
			return nil, err
		}
		handler = newDoor(ask, time.Now, log, handler)
		var watch manager.Runnable
		if secure, watch, err = f.tls(); err != nil {
			return nil, err
		}
		if watch != nil {
			runnables = append(runnables, watch)
		}
	}
	tcp, err := new(net.ListenConfig).Listen(context.Background(), "tcp", f.Address)
	if err != nil {
		return nil, fmt.Errorf("serve metrics at --metrics-bind-address %s: %w", f.Address, err)
	}
	l := net.Listener(limit(tcp))
	if secure != nil {
		l = tls.NewListener(l, secure)
	}
	return append(runnables, &manager.Server{Name: "metrics", Server: newServer(handler), Listener: l, ShutdownTimeout: new(time.Second)}), nil
}

// newServer makes a server that a client can hold up neither for long nor with much.
func newServer(metrics http.Handler) *http.Server {
	s := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != path {
				deny(w, "metrics are at "+path, http.StatusNotFound)
				return
			}
			metrics.ServeHTTP(w, r)
		}),
		MaxHeaderBytes: headers, ReadHeaderTimeout: toBeAsked,
		ReadTimeout:  toBeRead, // it ends the request's context, also while the API server is waited for: longer than patience
		WriteTimeout: toBeRead, IdleTimeout: betweenBy,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     stdlog.New(io.Discard, "", 0), // a line for each bad handshake: whoever reaches the port could fill the log
		Protocols:                    new(http.Protocols),
	}
	s.Protocols.SetHTTP1(true)
	return s
}

// tls is how a connection is secured, and what reads the certificate again, if it is one in a folder.
func (f *Flags) tls() (*tls.Config, manager.Runnable, error) {
	c := &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"}, // no HTTP/2: who resets streams in a row has a server work for nothing (CVE-2023-44487)
	}
	if f.CertDir == "" {
		once := sync.OnceValues(selfSigned) // when it is needed first
		c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return once() }
		return c, nil, nil
	}
	w, err := certwatcher.New(filepath.Join(f.CertDir, certName), filepath.Join(f.CertDir, keyName))
	if err != nil {
		return nil, nil, fmt.Errorf("read the certificate of the metrics from --metrics-cert-dir %s: %w", f.CertDir, err)
	}
	c.GetCertificate = w.GetCertificate
	return c, w, nil
}
