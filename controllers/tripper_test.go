package controllers

import (
	"context"
	"net/http"
	"testing"
	"time"
)

type tripperFunc func(*http.Request) (*http.Response, error)

func (f tripperFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A write that has begun outlives the wish to stop, so that a leader knows its outcome before it releases the lease; reads and the
// lease itself do not. Every write ends in time, on both sides.
func TestBoundedTripper(t *testing.T) {
	for _, tc := range []struct {
		method               string
		seenThrough, bounded bool
	}{
		{http.MethodGet, false, false},
		{http.MethodPut, false, true},
		{http.MethodPost, false, true},
		{http.MethodPatch, true, true},
	} {
		ctx, stop := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, tc.method, "https://192.0.2.1/api/v1/x?fieldManager=m", nil)
		if err != nil {
			t.Fatal(err)
		}
		next := tripperFunc(func(r *http.Request) (*http.Response, error) {
			stop()
			if seenThrough := r.Context().Err() == nil; seenThrough != tc.seenThrough {
				t.Errorf("%s is seen through: %t, want %t", tc.method, seenThrough, tc.seenThrough)
			}
			deadline, bounded := r.Context().Deadline()
			if bounded != tc.bounded || bounded && time.Until(deadline) > requestTimeout {
				t.Errorf("%s has a deadline: %t, %s", tc.method, bounded, deadline)
			}
			q := r.URL.Query()
			if q.Has("timeout") != tc.bounded || tc.bounded && q.Get("timeout") != "4s" || q.Get("fieldManager") != "m" {
				t.Errorf("%s asks the server with %s", tc.method, r.URL.RawQuery)
			}
			return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
		})
		answer, err := boundedTripper{next}.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := answer.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if r.URL.Query().Has("timeout") {
			t.Errorf("%s: the caller's request was changed", tc.method)
		}
	}
}
