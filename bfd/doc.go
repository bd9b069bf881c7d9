// Package bfd is Bidirectional Forwarding Detection (RFC 5880): the packet, its authentication, and one end of a session.
//
// It decides when to send what, and when the neighbour is lost. It never opens a socket, reads a clock or starts a goroutine:
// time and packets are given to it, and it says what to send and when it wants to be asked again. Package udp has the
// sockets of RFC 5881 and 5883, package manager keeps many sessions over them.
//
// A session is asynchronous. Demand mode is answered when the neighbour asks for it and never asked for; echo packets are
// neither sent nor wanted (Required Min Echo RX Interval 0).
package bfd
