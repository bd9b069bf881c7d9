package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// The test's own program is one that is built of modules.
func TestSBOM(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	spec := Spec{Reference: "fairlead:dev", Platforms: []string{"linux/amd64", "linux/arm64"}, Files: []File{{Host: self, Image: "/a"}, {Host: self, Image: "/b"}}}
	var first, second bytes.Buffer
	if err := WriteSBOM(&first, spec, "v1.2.3"); err != nil {
		t.Fatal(err)
	}
	slices.Reverse(spec.Files)
	if err := WriteSBOM(&second, spec, "v1.2.3"); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same programs gave two bills of materials")
	}
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(&first, cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	if c := bom.Metadata.Component; bom.SpecVersion != cdx.SpecVersion1_6 || c.Name != "fairlead" || c.Version != "v1.2.3" || bom.SerialNumber != "" || bom.Metadata.Timestamp != "" {
		t.Errorf("version %s of %+v", bom.SpecVersion, c)
	}
	has := func(ref string) bool {
		return slices.ContainsFunc(*bom.Components, func(c cdx.Component) bool { return strings.HasPrefix(c.BOMRef, ref) })
	}
	for _, ref := range []string{"/a@linux/amd64", "/b@linux/arm64", "pkg:golang/std@1.", "pkg:golang/github.com/google/go-containerregistry@v0."} {
		if !has(ref) {
			t.Errorf("%s is missing", ref)
		}
	}
	for _, d := range *bom.Dependencies {
		for _, on := range *d.Dependencies {
			if !has(on) {
				t.Errorf("%s depends on %s, which is no component", d.Ref, on)
			}
		}
	}
	none := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(none, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteSBOM(&first, Spec{Platforms: []string{"linux/amd64"}, Files: []File{{Host: none, Image: "/a"}}}, ""); err == nil || !strings.Contains(err.Error(), none) {
		t.Errorf("of a file that is no program: %v", err)
	}
}
