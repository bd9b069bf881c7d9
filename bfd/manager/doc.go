// Package manager keeps BFD sessions: it gives them sockets and time, finds the session of each packet, and tells what becomes
// of them.
//
// It is made for one instance in a process and several users of it, each with its own channel of events. It decides nothing of
// the protocol (package bfd does) and nothing of what follows when a neighbour is lost, and it logs nothing.
//
// One goroutine sends what is due. It shares nothing with the goroutines that receive but a lock for each session, held for the
// time of a packet, and it does not allocate; so neither a flood of packets nor garbage made elsewhere holds it up.
package manager
