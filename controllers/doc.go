// Package controllers is the controller's side of the API: it reads objects, asks ipam for decisions, and writes the outcome.
//
// It holds no rule about who gets which address; those are ipam's. What it does decide is when it is safe to act on a
// decision. The status of a Service is the only durable record of what is assigned, and the Book in memory is what the
// leader knows beyond it. An address is given to a Service only when it is in the status of no other Service that is served, or was,
// and not reserved in the Book, and that no Service of another class shows.
//
//   - The Book is filled from a LIST that the API server answers after the lease was acquired, never from the cache, which may
//     lag behind the last leader's writes. That leader writes nothing any more: it releases the lease when its workers have
//     stopped, which see the writes through that they have begun; and when it was killed, or could not renew, its requests have ended
//     before the lease expires, because the API server, too, gives each no more than requestTimeout.
//   - An address is reserved in the Book before it is written, and stays reserved whatever becomes of the write. It is free
//     again only after a write (or a current read) has shown that no status carries it: on a move after the new status is
//     written, on deletion after the API server says that the Service is gone.
//   - Status writes carry the resourceVersion that the decision was made for, so that a stale cache, or a leader of the past,
//     cannot overwrite.
//
// So a process that is killed at any instant leaves statuses in which no address is twice, and its successor needs nothing else.
package controllers
