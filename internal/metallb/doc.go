// Package metallb turns MetalLB's configuration into Fairlead's: its custom resources of every version that it served, or the ConfigMap
// that it read before it had any, and a report that gives a verdict on each field of each object: it maps, its meaning changes, it has
// no equivalent, nobody knows it, or it is broken.
//
// Everything is computed from the objects alone. The package reads no cluster and writes to none. An object that cannot be had is left out
// alone and the report says why; what is given out compiles under the rules of internal/config. Nothing of the input is lost in silence:
// a field that no code here asks for is reported as unknown.
package metallb
