package controllers_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"fairlead.io/fairlead/api/v1beta1"
)

// late is a stream whose reader gets everything some time after it came.
type late struct {
	io.ReadCloser
	pieces chan piece
	rest   []byte
}

type piece struct {
	due  time.Time
	data []byte
	err  error
}

func delayed(r io.ReadCloser, by time.Duration) io.ReadCloser {
	l := &late{ReadCloser: r, pieces: make(chan piece, 1<<16)}
	go func() {
		for {
			b := make([]byte, 64<<10)
			n, err := r.Read(b)
			l.pieces <- piece{time.Now().Add(by), b[:n], err}
			if err != nil {
				return
			}
		}
	}()
	return l
}

func (l *late) Read(p []byte) (int, error) {
	if len(l.rest) == 0 {
		next := <-l.pieces
		if len(next.data) == 0 {
			return 0, next.err
		}
		time.Sleep(time.Until(next.due))
		l.rest = next.data
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

// lagging is a kubeconfig for the API server with which the events of Services come late, as they do from a busy server.
func lagging(t *testing.T, by time.Duration) string {
	t.Helper()
	server, err := url.Parse(env.Config.Host)
	if err != nil || server.Host == "" {
		server = &url.URL{Scheme: "https", Host: env.Config.Host}
	}
	proxy := httputil.NewSingleHostReverseProxy(server)
	if proxy.Transport, err = rest.TransportFor(rest.CopyConfig(env.Config)); err != nil {
		t.Fatal(err)
	}
	proxy.FlushInterval = -1
	proxy.ModifyResponse = func(r *http.Response) error {
		if r.Request.URL.Query().Has("watch") && strings.HasSuffix(r.Request.URL.Path, "/api/v1/services") {
			r.Body = delayed(r.Body, by)
		}
		return nil
	}
	s := httptest.NewServer(proxy)
	t.Cleanup(s.CloseClientConnections) // a watch does not end by itself
	c := clientcmdapi.NewConfig()
	c.Clusters["lagging"] = &clientcmdapi.Cluster{Server: s.URL}
	c.AuthInfos["lagging"] = &clientcmdapi.AuthInfo{}
	c.Contexts["lagging"] = &clientcmdapi.Context{Cluster: "lagging", AuthInfo: "lagging"}
	c.CurrentContext = "lagging"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*c, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// A Service that is woken while the cache has yet to show the last write of it is not forgotten.
func TestWokenWhileBehind(t *testing.T) {
	ns := namespace(t)
	run(t, "--kubeconfig", lagging(t, 300*time.Millisecond))
	create(t, newService(ns, "a"))
	pending(t, ns, "a", v1beta1.ReasonNoPool, "")
	create(t, newPool("web", "192.168.100.240"))
	hasAddress(t, ns, "a", "192.168.100.240")

	// And its condition Announced follows what happened meanwhile.
	advertisement(t, "lagging", nil)
	eventually(t, "Announced follows", func() string {
		if c := condition(get(t, ns, "a"), v1beta1.ConditionAnnounced); c.Reason != v1beta1.ReasonNotAnnounced {
			return fmt.Sprintf("%+v", c)
		}
		return ""
	})
}

// Who takes over with a cache that is behind what it reads at the start does what the cache shows later.
func TestTakesOverBehind(t *testing.T) {
	ns := namespace(t)
	create(t, newPool("web", "192.168.100.240"))
	create(t, newPool("zeb", "192.168.101.240"))
	create(t, newService(ns, "a"))
	first := run(t)
	hasAddress(t, ns, "a", "192.168.100.240")
	first.stop()
	second := run(t, "--kubeconfig", lagging(t, 2*time.Second))
	leads(t, second)
	update(t, ns, "a", func(svc *corev1.Service) { svc.Annotations[v1beta1.AnnotationAddressPool] = "zeb" })
	hasAddress(t, ns, "a", "192.168.101.240")
}

// A Service that is made anew under its name is another one, whose status nobody has overwritten.
func TestMadeAnew(t *testing.T) {
	ns := namespace(t)
	create(t, newPool("web", "192.168.100.240"))
	c := run(t, "--kubeconfig", lagging(t, 30*time.Millisecond))
	create(t, newService(ns, "a"))
	for range 6 {
		hasAddress(t, ns, "a", "192.168.100.240")
		if err := kube.Delete(t.Context(), get(t, ns, "a")); err != nil {
			t.Fatal(err)
		}
		create(t, newService(ns, "a"))
	}
	hasAddress(t, ns, "a", "192.168.100.240")
	if strings.Contains(c.out.String(), "Another program keeps writing") {
		t.Error("it says that another program keeps writing")
	}
}
