// Package manager keeps BFD sessions: it gives them sockets and time, finds the session of each packet, and tells what becomes
// of them.
//
// It is made for one instance in a process and several users of it, each with its own channel of events. It decides nothing of
// the protocol (package bfd does) and nothing of what follows when a neighbour is lost, and it logs nothing.
//
// One goroutine receives and sends. It wakes up when the next packet must be sent, or some time later than received packets may
// be read (see grain), whichever is first; then it reads all that has come, and sends what may be sent. So the number of times
// it is woken, which is what most of the cost is, does not grow with the sessions. What it reads at once is bounded, and it neither allocates nor
// waits for anybody, so that neither a flood of packets, nor a user who does not read his events, nor garbage made elsewhere
// holds up what is to be sent.
package manager
