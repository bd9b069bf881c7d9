// Package cli is what kubectl-fairlead does: it reads a cluster's state into plain values and prints them for a person.
// Nothing but an import or a move with --apply writes to the cluster.
package cli
