package main

import (
	"cmp"
	"debug/buildinfo"
	"fmt"
	"io"
	"maps"
	"path"
	"runtime/debug"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// WriteSBOM writes the bill of materials of the image as CycloneDX 1.6 JSON: its programs, and for each the Go modules that it is built from,
// as the go command has written into it. There is no time and no serial number in it, so that the same programs give the same bytes. All files
// must be Go programs.
func WriteSBOM(w io.Writer, spec Spec, version string) error {
	root := cdx.Component{BOMRef: spec.Reference, Type: cdx.ComponentTypeContainer, Name: strings.Split(spec.Reference, ":")[0], Version: version}
	modules := map[string]cdx.Component{} // by reference
	depends := map[string][]string{}
	var programs []cdx.Component
	for _, platform := range spec.Platforms {
		_, arch, _ := strings.Cut(platform, "/")
		for _, f := range spec.Files {
			host := strings.ReplaceAll(f.Host, anyArch, arch)
			info, err := buildinfo.ReadFile(host)
			if err != nil {
				return fmt.Errorf("read what %s is built from: %w", host, err)
			}
			program := cdx.Component{BOMRef: f.Image + "@" + platform, Type: cdx.ComponentTypeApplication, Name: path.Base(f.Image), Version: version,
				Properties: &[]cdx.Property{{Name: "platform", Value: platform}, {Name: "package", Value: info.Path}}}
			programs = append(programs, program)
			depends[root.BOMRef] = append(depends[root.BOMRef], program.BOMRef)
			std := &debug.Module{Path: "std", Version: strings.TrimPrefix(info.GoVersion, "go")}
			for _, m := range append([]*debug.Module{std}, info.Deps...) {
				if m.Replace != nil {
					m = m.Replace
				}
				c := library(m)
				modules[c.BOMRef] = c
				depends[program.BOMRef] = append(depends[program.BOMRef], c.BOMRef)
			}
		}
	}
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{Component: &root}
	byRef := func(a, b cdx.Component) int { return cmp.Compare(a.BOMRef, b.BOMRef) }
	components := slices.Concat(slices.SortedFunc(slices.Values(programs), byRef), slices.SortedFunc(maps.Values(modules), byRef))
	bom.Components = &components
	var dependencies []cdx.Dependency
	for _, ref := range slices.Sorted(maps.Keys(depends)) {
		on := slices.Compact(slices.Sorted(slices.Values(depends[ref])))
		dependencies = append(dependencies, cdx.Dependency{Ref: ref, Dependencies: &on})
	}
	bom.Dependencies = &dependencies
	if err := cdx.NewBOMEncoder(w, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cdx.SpecVersion1_6); err != nil {
		return fmt.Errorf("encode the bill of materials: %w", err)
	}
	return nil
}

// library is a module, named by its package URL.
func library(m *debug.Module) cdx.Component {
	purl := "pkg:golang/" + m.Path + "@" + m.Version
	c := cdx.Component{BOMRef: purl, Type: cdx.ComponentTypeLibrary, Name: m.Path, Version: m.Version, PackageURL: purl}
	if m.Sum != "" {
		c.Properties = &[]cdx.Property{{Name: "go.sum", Value: m.Sum}} // a hash of the module's files, of no kind that CycloneDX knows
	}
	return c
}
