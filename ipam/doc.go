// Package ipam decides which address a Service gets, and says why.
//
// An Allocator knows the pools, who holds which address and who waits for one. Decide answers a Request with addresses and reasons and
// changes nothing (it is what explains a Service); Assign decides and remembers. Neither talks to Kubernetes: callers
// turn objects into Pools and Requests and write the outcome where it belongs.
//
// What it promises:
//   - an address is given to one Service, or to several that may share it, and it lies in a pool that is open to the Service
//     when it is given;
//   - an address that a Service holds stays with it until the Service gives it up or asks for another, whatever happens to the pools;
//   - an address that a Service is leaving is given to nobody until Confirm says that the Service's status no longer shows it;
//   - the same requests in the same order have the same outcome.
//
// Free space is kept as intervals, so that nothing ever depends on how many addresses a pool has: allocating, releasing, looking up
// and counting take O(log n) in the number of intervals and pool entries.
package ipam
