// Package e2e tests Fairlead as its users see it: on a real cluster in network namespaces, from the API and from a client on the
// nodes' network. All tests share one lab. Each has a namespace and a pool of its own, so that tests that break nothing run
// in parallel. After them, one by one, come the rules of allocation, which need all pools for themselves, and the tests that cut links, kill
// daemons or pause the API server.
package e2e
