package metrics

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// authority is an API server that knows tokens.
type authority struct {
	mu    sync.Mutex
	asked int
	knows map[string]verdict
	down  bool
	err   error         // that it answers with
	hold  chan struct{} // answers wait until it is closed
}

func (a *authority) ask(ctx context.Context, token string) (verdict, error) {
	a.mu.Lock()
	a.asked++
	v, down, hold, err := a.knows[token], a.down, a.hold, a.err
	a.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return unknown, ctx.Err()
		}
	}
	if err != nil {
		return unknown, err
	}
	if down {
		return unknown, errors.New("connection refused")
	}
	return v, nil
}

func (a *authority) set(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

// got is what came of a request, and how often the API server has been asked for it.
type got struct{ code, asked int }

func open(t *testing.T) (*authority, func(remote, token string) got) {
	t.Helper()
	a := &authority{knows: map[string]verdict{"good": allowed, "other": forbidden}}
	d := newDoor(a.ask, time.Now, logr.Discard(), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "fairlead_build_info 1")
	}))
	return a, func(remote, token string) got {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody)
		r.RemoteAddr = remote
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		var before int
		a.set(func() { before = a.asked })
		d.ServeHTTP(w, r)
		if metrics := w.Body.String() == "fairlead_build_info 1"; metrics != (w.Code == http.StatusOK) {
			t.Errorf("answer %d is %q", w.Code, w.Body)
		}
		var asked int
		a.set(func() { asked = a.asked - before })
		return got{w.Code, asked}
	}
}

func want(t *testing.T, what string, have got, code, asked int) {
	t.Helper()
	if have != (got{code, asked}) {
		t.Errorf("%s: %d with %d questions, want %d with %d", what, have.code, have.asked, code, asked)
	}
}

const scraper, intruder = "192.0.2.1:40000", "192.0.2.2:40000"

func TestDoor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, get := open(t)
		want(t, "no token", get(scraper, ""), 401, 0)
		want(t, "an unknown token", get(scraper, "made-up"), 401, 1)
		want(t, "the same again", get(scraper, "made-up"), 401, 0)
		want(t, "a token without the right", get(scraper, "other"), 403, 1)
		want(t, "a token with it", get(scraper, "good"), 200, 1)
		want(t, "the same again", get(scraper, "good"), 200, 0)

		// What is remembered ends: a right that is given or taken is seen.
		a.set(func() { a.knows["other"], a.knows["good"] = allowed, forbidden })
		time.Sleep(refusedFor)
		want(t, "a right that was given", get(scraper, "other"), 200, 1)
		time.Sleep(allowedFor)
		want(t, "a right that was taken", get(scraper, "good"), 403, 1)
	})
}

func TestDoorIsForReading(t *testing.T) {
	a, _ := open(t)
	d := newDoor(a.ask, time.Now, logr.Discard(), http.NotFoundHandler())
	for _, method := range []string{http.MethodPost, http.MethodHead, "MADE-UP"} {
		r := httptest.NewRequestWithContext(t.Context(), method, "/metrics", http.NoBody)
		r.Header.Set("Authorization", "Bearer good")
		w := httptest.NewRecorder()
		if d.ServeHTTP(w, r); w.Code != http.StatusMethodNotAllowed || a.asked != 0 {
			t.Errorf("%s: %d with %d questions", method, w.Code, a.asked)
		}
	}
}

// With the API server away, who read the metrics of late goes on for a while, and nobody else does.
func TestDoorWithoutAPIServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, get := open(t)
		want(t, "a good token", get(scraper, "good"), 200, 1)
		a.set(func() { a.down = true })
		want(t, "while it is fresh", get(scraper, "good"), 200, 0)
		time.Sleep(allowedFor)
		want(t, "then it is asked about", get(scraper, "good"), 200, 1)
		want(t, "a token that was not seen before", get(scraper, "other"), 503, 1)
		time.Sleep(knownFor)
		want(t, "for too long", get(scraper, "good"), 503, 1)
		a.set(func() { a.down = false })
		want(t, "the API server is back", get(scraper, "good"), 200, 1)
		// A token that was refused in between is no longer known.
		a.set(func() { a.knows["good"] = unknown })
		time.Sleep(allowedFor)
		want(t, "it is refused", get(scraper, "good"), 401, 1)
		a.set(func() { a.down = true })
		time.Sleep(refusedFor)
		want(t, "and the API server is away again", get(scraper, "good"), 503, 1)
	})
}

// An API server that answers, and does not let this program ask, is not away: nobody is let through for what it said earlier.
func TestDoorThatMayNotAsk(t *testing.T) {
	for code, want := range map[int32]int{401: 503, 403: 503, 404: 503, 429: 200, 500: 200, 503: 200} {
		synctest.Test(t, func(t *testing.T) {
			a, get := open(t)
			get(scraper, "good")
			a.set(func() {
				a.err = fmt.Errorf("ask: %w", &apierrors.StatusError{ErrStatus: metav1.Status{Code: code}})
			})
			time.Sleep(allowedFor)
			if have := get(scraper, "good"); have.code != want {
				t.Errorf("the API server answers %d: %d, want %d", code, have.code, want)
			}
		})
	}
}

// A question has its place until it is answered, also when who asked has hung up.
func TestDoorAndThoseWhoHangUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{hold: make(chan struct{})}
		d := newDoor(a.ask, time.Now, logr.Discard(), http.NotFoundHandler())
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for host := range 10 * atOnce {
			if _, err := d.decide(ctx, fmt.Sprintf("192.0.2.%d:1", host), fmt.Sprintf("made-up-%d", host)); err == nil {
				t.Error("nobody can know")
			}
		}
		synctest.Wait()
		a.set(func() {
			if a.asked != atOnce {
				t.Errorf("%d questions are open, want %d", a.asked, atOnce)
			}
		})
		close(a.hold)
		synctest.Wait()
		if n := len(d.slots); n != 0 {
			t.Errorf("%d places are taken by nobody", n)
		}
	})
}

// Tokens that are made up reach the API server at a bounded rate, and Prometheus is not held up by them.
func TestDoorUnderFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, get := open(t)
		want(t, "Prometheus", get(scraper, "good"), 200, 1)
		n := 0
		flood := func(source string) int {
			var before, after int
			a.set(func() { before = a.asked })
			for range 1000 {
				n++
				get(source, fmt.Sprintf("made-up-%d", n))
			}
			a.set(func() { after = a.asked })
			return after - before
		}
		if asked := flood(intruder); asked != burst {
			t.Errorf("a thousand tokens of one source are %d questions, want %d", asked, burst)
		}
		want(t, "a token that is remembered as refused costs nothing", get(intruder, "made-up-1"), 401, 0)
		want(t, "one that is not is not asked about", get(intruder, "made-up-1000"), 429, 0)
		time.Sleep(10 * time.Second)
		if asked := flood(intruder); asked != 5 {
			t.Errorf("10 s later they are %d questions, want 5", asked)
		}
		want(t, "a known token from the same source", get(intruder, "good"), 200, 0)
		time.Sleep(allowedFor)
		flood(intruder)
		want(t, "also when it has to be asked about again", get(intruder, "good"), 200, 1)

		// Many sources, as many tokens: all together are bounded, and so is what is remembered.
		var before, after int
		a.set(func() { before = a.asked })
		for host := range 2000 {
			n++
			get(fmt.Sprintf("198.51.%d.%d:1", 100+host/250, host%250), fmt.Sprintf("made-up-%d", n))
		}
		a.set(func() { after = a.asked })
		if asked := after - before; asked > buckets*burst {
			t.Errorf("2000 sources are %d questions, want at most %d", asked, buckets*burst)
		}
		want(t, "Prometheus", get(scraper, "good"), 200, 0)
	})
}

// What is remembered is bounded, and a good token finds its place among bad ones.
func TestDoorRemembersSoMuch(t *testing.T) {
	a := &authority{}
	d := newDoor(a.ask, time.Now, logr.Discard(), http.NotFoundHandler())
	hash := func(i int) tokenHash { return tokenHash{byte(i), byte(i >> 8)} }
	for i := range 2 * remembered {
		d.learn(hash(i), unknown, nil)
	}
	if len(d.tokens) != remembered {
		t.Errorf("%d tokens are remembered, want %d", len(d.tokens), remembered)
	}
	good := hash(3 * remembered)
	d.learn(good, allowed, nil)
	if len(d.tokens) != remembered || d.tokens[good].verdict != allowed {
		t.Errorf("%d tokens are remembered, and the good one is %+v", len(d.tokens), d.tokens[good])
	}
}

// Few questions are open at once while the API server does not answer, and one token is one question.
func TestDoorWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, get := open(t)
		want(t, "Prometheus", get(scraper, "good"), 200, 1)
		time.Sleep(allowedFor)
		a.set(func() { a.hold, a.asked = make(chan struct{}), 0 })
		codes := make(chan int, 1000)
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { codes <- get(scraper, "good").code })
		}
		synctest.Wait()
		a.set(func() {
			if a.asked != 1 {
				t.Errorf("ten requests with one token are %d questions", a.asked)
			}
		})
		for host := range 100 {
			wg.Go(func() {
				code := get(fmt.Sprintf("198.51.100.%d:1", host), fmt.Sprintf("made-up-%d", host)).code
				if code != 429 && code != 503 {
					t.Errorf("a made-up token that nothing is known of: %d", code)
				}
			})
		}
		synctest.Wait()
		a.set(func() {
			if a.asked != 1+atOnce {
				t.Errorf("%d questions are open, want %d", a.asked, 1+atOnce)
			}
		})
		wg.Wait() // nobody waits for longer than the patience lasts
		close(codes)
		for code := range codes {
			if code != 200 {
				t.Errorf("a known token while the API server does not answer: %d", code)
			}
		}
	})
}

// One host is one source, whatever its port, and whatever IPv6 address of its network it takes.
func TestBucket(t *testing.T) {
	d := newDoor(nil, time.Now, logr.Discard(), nil)
	for _, same := range [][2]string{
		{"192.0.2.1:1", "192.0.2.1:2"}, {"192.0.2.1:1", "[::ffff:192.0.2.1]:1"}, {"[2001:db8::1]:1", "[2001:db8::2:3:4:5]:2"}, {"[fe80::1%eth0]:1", "[fe80::2%eth1]:1"},
	} {
		if d.bucket(same[0]) != d.bucket(same[1]) {
			t.Errorf("%s and %s are two sources", same[0], same[1])
		}
	}
	seen := map[int]bool{}
	for i := range 255 {
		seen[d.bucket(fmt.Sprintf("192.0.2.%d:1", i))] = true
	}
	if len(seen) < buckets/2 {
		t.Errorf("255 hosts are in %d buckets", len(seen))
	}
}
