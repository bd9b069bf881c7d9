// Package interop runs Fairlead's protocols against other implementations: FRR, BIRD and gobgpd, each in a network namespace.
//
// What is under test runs in a process and a namespace of its own too, so that it can be killed like they can.
package interop
