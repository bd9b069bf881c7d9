package speaker

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/go-logr/logr"

	"fairlead.io/fairlead/api/v1beta1"
)

// health is what is known of the node's service proxy.
type health struct {
	Ready   bool
	Reason  string // of the Speaker's condition DataplaneReady
	Message string
}

// gate asks the service proxy's health endpoint, and decides if the node's data plane is ready.
//
// It is open until something has answered there: a proxy that serves no health endpoint is no reason to announce nothing.
// Later it closes after failures in a row, as many as a proxy needs to be restarted, and opens with the first success.
type gate struct {
	url      string
	interval time.Duration
	failures int // in a row that close the gate
	client   *http.Client
	report   func(health) // called on each change, from run's goroutine
	log      logr.Logger

	seen   bool // something has answered
	failed int
	state  health
}

const (
	gateInterval = time.Second
	gateFailures = 3
)

func newGate(url string, report func(health), log logr.Logger) *gate {
	return &gate{
		url: url, interval: gateInterval, failures: gateFailures, report: report, log: log,
		// A connection of its own for each question: a kept one would still work when nobody listens anymore.
		client: &http.Client{Timeout: gateInterval, Transport: &http.Transport{DisableKeepAlives: true, Proxy: nil}},
		state: health{Ready: true, Reason: v1beta1.ReasonNoProxyHealth,
			Message: fmt.Sprintf("nothing has ever answered at %s: the service proxy's health is not taken into account", url)},
	}
}

// run asks until the context ends; an empty URL asks nothing, ever.
func (g *gate) run(ctx context.Context) {
	if g.url == "" {
		return
	}
	tick := time.NewTicker(g.interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			g.check(ctx)
		}
	}
}

// check asks once.
func (g *gate) check(ctx context.Context) {
	if g.url == "" {
		return
	}
	status, err := g.ask(ctx)
	if ctx.Err() != nil {
		return
	}
	next := g.state
	switch {
	case err == nil && status == http.StatusOK:
		g.seen, g.failed = true, 0
		next = health{Ready: true, Reason: v1beta1.ReasonProxyHealthy, Message: fmt.Sprintf("the service proxy answers at %s", g.url)}
	case err == nil:
		g.seen = true
		g.failed++
		next = health{Reason: v1beta1.ReasonProxyUnhealthy,
			Message: fmt.Sprintf("the service proxy answers %d at %s: look at its log on this node", status, g.url)}
	case g.seen:
		g.failed++
		next = health{Reason: v1beta1.ReasonProxyUnhealthy,
			Message: fmt.Sprintf("the service proxy has stopped answering at %s: look if it runs on this node", g.url)}
	}
	if !next.Ready && g.state.Ready && g.failed < g.failures {
		return
	}
	if next != g.state {
		if next.Ready != g.state.Ready {
			g.log.Info("the node's data plane has changed", "ready", next.Ready, "reason", next.Reason)
		}
		g.state = next
		g.report(next)
	}
}

func (g *gate) ask(ctx context.Context) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, g.url, http.NoBody)
	if err != nil {
		return 0, fmt.Errorf("ask %s: %w", g.url, err)
	}
	response, err := g.client.Do(request)
	if err != nil {
		return 0, err
	}
	if err := response.Body.Close(); err != nil {
		g.log.V(1).Info("closing the answer of the health endpoint", "error", err.Error())
	}
	return response.StatusCode, nil
}
