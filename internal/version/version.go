// Package version holds what a release build stamps into the programs.
//
// The build sets both variables by the linker:
//
//	-ldflags "-X fairlead.io/fairlead/internal/version.Version=v0.1.0 -X fairlead.io/fairlead/internal/version.Commit=0123abc"
package version

import "runtime"

var (
	// Version of the release, "dev" in a build that was not stamped.
	Version = "dev"
	// Commit that the build was made from, empty in a build that was not stamped.
	Commit = ""
)

// String is what --version prints after the program's name: version, commit when known, and the Go release and platform.
func String() string {
	s := Version
	if Commit != "" {
		s += " (" + Commit + ")"
	}
	return s + " " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
}
