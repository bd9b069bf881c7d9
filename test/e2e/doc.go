// Package e2e tests Fairlead as its users see it: on a real cluster in network namespaces, from the API and from a client on the
// nodes' network. All tests share one lab. Each has a pool of its own; those that break nothing have a namespace of their own too, and run
// in parallel. After them, one by one, come the rules of allocation, which need all pools for themselves, and the tests that cut links, kill
// daemons or pause the API server; these share a namespace and its pods, which nothing of that touches.
package e2e
