// Package move decides how a live cluster goes from MetalLB to Fairlead: what keeps it from being begun, how a program is stopped so that it
// can be started again exactly as it was, and in which order, so that nobody announces for as short a time as can be.
//
// It is computed from objects as they were read. It reads and writes nothing.
package move
