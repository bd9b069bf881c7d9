package metrics

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash/maphash"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
)

const (
	// What the API server said of a token is good for so long.
	allowedFor = time.Minute
	refusedFor = 10 * time.Second
	// A token that was allowed is known for so long: it is asked about whatever others do, and it is let through while the API server does not
	// answer.
	knownFor = time.Hour
	// remembered is the greatest number of tokens that something is remembered of.
	remembered = 256
	// patience with the API server; Prometheus by default has 10 s.
	patience = 5 * time.Second
)

// What the API server is asked at most about tokens that are not known. Whoever reaches the port can make tokens up, and each is a question; on the
// host network that is everybody on the nodes' network.
const (
	buckets   = 64 // of sources, so that one does not use up what is for the others
	perBucket = rate.Limit(0.5)
	burst     = 10
	atOnce    = 16
)

const notLet = "the API server does not let this program ask whose a token is: let its ServiceAccount create TokenReviews and SubjectAccessReviews"

var errTooMany = errors.New("too many requests with tokens that were not allowed before: come again in 10 s")

// door lets those through to the metrics whom the API server allows it.
type door struct {
	ask  func(ctx context.Context, token string) (verdict, error)
	now  func() time.Time
	log  logr.Logger
	next http.Handler

	seed    maphash.Seed
	sources [buckets]*rate.Limiter
	slots   chan struct{}
	flight  singleflight.Group

	mu     sync.Mutex // guards what follows
	tokens map[tokenHash]entry
	silent bool // the API server did not answer the last time
}

type tokenHash [sha256.Size]byte

// entry is what is remembered of a token.
type entry struct {
	verdict      verdict
	fresh, known time.Time // until when
}

func newDoor(ask func(context.Context, string) (verdict, error), now func() time.Time, log logr.Logger, next http.Handler) *door {
	d := &door{ask: ask, now: now, log: log, next: next, seed: maphash.MakeSeed(), slots: make(chan struct{}, atOnce), tokens: map[tokenHash]entry{}}
	for i := range d.sources {
		d.sources[i] = rate.NewLimiter(perBucket, burst)
	}
	return d
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		deny(w, "metrics are read by GET", http.StatusMethodNotAllowed)
		return
	}
	token, ok := bearer(r)
	if !ok {
		refuse(w, "metrics are served to those who send a token of the cluster: Authorization: Bearer TOKEN")
		return
	}
	switch v, err := d.decide(r.Context(), r.RemoteAddr, token); {
	case errors.Is(err, errTooMany):
		w.Header().Set("Retry-After", "10")
		deny(w, err.Error(), http.StatusTooManyRequests)
	case err != nil && !away(err):
		deny(w, notLet, http.StatusServiceUnavailable)
	case err != nil:
		deny(w, "the API server, which knows whom metrics are for, does not answer: try again later", http.StatusServiceUnavailable)
	case v == allowed:
		d.next.ServeHTTP(w, r)
	case v == forbidden:
		deny(w, "the owner of this token may not get /metrics: bind it to ClusterRole fairlead-metrics-reader", http.StatusForbidden)
	default:
		refuse(w, "the API server does not know this token: it may have expired")
	}
}

func refuse(w http.ResponseWriter, why string) {
	w.Header().Set("WWW-Authenticate", "Bearer")
	deny(w, why, http.StatusUnauthorized)
}

// deny ends the connection too, so that those who stay are those who may.
func deny(w http.ResponseWriter, why string, code int) {
	w.Header().Set("Connection", "close")
	http.Error(w, why, code)
}

// bearer is the token that a request brings, if it does.
func bearer(r *http.Request) (string, bool) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	return token, strings.EqualFold(scheme, "Bearer") && token != ""
}

// decide on a token that comes from an address; an error means that nothing is known of it.
func (d *door) decide(ctx context.Context, remote, token string) (verdict, error) {
	hash := tokenHash(sha256.Sum256([]byte(token)))
	now := d.now()
	d.mu.Lock()
	e := d.tokens[hash]
	d.mu.Unlock()
	if now.Before(e.fresh) {
		return e.verdict, nil
	}
	known := now.Before(e.known)
	if !known {
		if !d.sources[d.bucket(remote)].AllowN(now, 1) {
			return unknown, errTooMany
		}
		select {
		case d.slots <- struct{}{}:
		default:
			return unknown, errTooMany
		}
	}
	answer := d.flight.DoChan(string(hash[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience) // it is for all who wait for it
		defer cancel()
		v, err := d.ask(ctx, token)
		d.learn(hash, v, err)
		return v, err
	})
	leave := func() {}
	if !known {
		leave = func() { <-d.slots }
	}
	select {
	case <-ctx.Done():
		go func() { // the question is still open, and has its place
			<-answer
			leave()
		}()
		return unknown, ctx.Err() //nolint:wrapcheck // who asked has gone
	case a := <-answer:
		leave()
		if a.Err != nil && known && away(a.Err) {
			return allowed, nil
		}
		v, _ := a.Val.(verdict)
		return v, a.Err
	}
}

// learn what the API server said, or that it said nothing.
func (d *door) learn(hash tokenHash, v verdict, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if silent := err != nil; silent != d.silent {
		d.silent = silent
		switch {
		case silent && !away(err):
			d.log.Info(notLet+"; nobody can read metrics until then", "error", err.Error())
		case silent:
			d.log.Info("the API server does not answer if metrics may be read: those who read them of late go on, and nobody else", "for", knownFor.String(), "error", err.Error())
		default:
			d.log.Info("the API server answers again if metrics may be read")
		}
	}
	if err != nil {
		return
	}
	now := d.now()
	if _, ok := d.tokens[hash]; !ok && len(d.tokens) >= remembered {
		d.forget(now, v == allowed)
		if len(d.tokens) >= remembered {
			return
		}
	}
	e := entry{verdict: v, fresh: now.Add(refusedFor)}
	if v == allowed {
		e.fresh, e.known = now.Add(allowedFor), now.Add(knownFor)
	}
	d.tokens[hash] = e
}

// forget what is no longer good, and, for the sake of a token that is allowed, one that is not; d.mu is held.
func (d *door) forget(now time.Time, refused bool) {
	for hash, e := range d.tokens {
		if !now.Before(e.fresh) && !now.Before(e.known) {
			delete(d.tokens, hash)
		}
	}
	if len(d.tokens) < remembered || !refused {
		return
	}
	for hash, e := range d.tokens {
		if e.verdict != allowed {
			delete(d.tokens, hash)
			return
		}
	}
}

// bucket of the address that a request comes from.
func (d *door) bucket(remote string) int {
	return int(maphash.String(d.seed, source(remote)) % buckets)
}

// source is the host that a request or a connection comes from. An IPv6 host has all addresses of a /64 to choose from.
func source(remote string) string {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return remote
	}
	addr, bits := ap.Addr().Unmap().WithZone(""), 32
	if addr.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(addr, bits).Masked().String()
}
