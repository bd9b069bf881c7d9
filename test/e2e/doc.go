// Package e2e tests Fairlead as its users see it: on a real cluster in network namespaces, from the API and from a client on the
// nodes' network. All tests share one lab. Each has a namespace and a pool of its own, so that tests that break nothing run
// in parallel; those that cut links, kill daemons or pause the API server run one after another, after the others.
package e2e
