// Package bgp says what is advertised by BGP (RFC 4271) to whom, in plain values: peers, routes, attributes, and the table that
// merges what several advertisements want into one route for each peer. It speaks no BGP itself: a Router does, see package
// engine. It knows nothing of Kubernetes.
package bgp
