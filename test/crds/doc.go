// Package crds holds the CRDs to those of the last release, which testdata has: fields and values are added, and nothing that was accepted is
// refused, dropped or understood otherwise. `make accept-crds` takes the present CRDs as those of a release.
package crds
