package version

import (
	"strings"
	"testing"
)

func TestString(t *testing.T) {
	if got := String(); !strings.HasPrefix(got, "dev go") {
		t.Errorf("String() of an unstamped build = %q", got)
	}
	Version, Commit = "v0.1.0", "0123abc"
	t.Cleanup(func() { Version, Commit = "dev", "" })
	if got := String(); !strings.HasPrefix(got, "v0.1.0 (0123abc) go") {
		t.Errorf("String() = %q", got)
	}
}
