package metallb

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// Whatever is read, nothing panics, what comes out compiles, and each field of MetalLB's objects is spoken of.
func FuzzConvert(f *testing.F) {
	for _, path := range golden(f) {
		raw, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	for _, c := range fieldCases() {
		var b bytes.Buffer
		for _, o := range objectsOf(f, &c) {
			b.WriteString("\n---\n" + jsonOf(f, o))
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var objects []Object
		for doc := range bytes.SplitSeq(raw, []byte("\n---")) {
			if list, _, err := Document(doc); err == nil {
				objects = append(objects, list...)
			}
		}
		result := Convert(objects, Options{MetalLBNamespace: "metallb-system", Namespace: "fairlead-system"})
		check(t, result)
		for _, o := range objects {
			checkMentioned(t, o, result)
		}
	})
}

// checkMentioned: each field of each object of MetalLB's is spoken of.
func checkMentioned(t *testing.T, o Object, r *Result) {
	group, version, _ := strings.Cut(text(o, "apiVersion"), "/")
	kind, namespace := text(o, "kind"), text(o, "metadata", "namespace")
	if group != Group || !known(kind, version) || isStatus(kind) {
		return
	}
	if namespace == "" {
		namespace = "metallb-system"
	}
	source := kind + " " + namespace + "/" + text(o, "metadata", "name")
	var items []*Item
	for _, item := range r.Report.Items {
		if item.Source == source {
			items = append(items, item)
		}
	}
	if len(items) == 0 {
		t.Fatalf("nothing is said of %s", source)
	}
	spec, ok := o["spec"].(Object)
	if !ok || len(items) > 1 || items[0].broken() || namespace != "metallb-system" || text(o, "metadata", "deletionTimestamp") != "" {
		return
	}
	for field := range spec {
		if !items[0].mentions("spec." + field) {
			t.Errorf("%s: nothing is said of spec.%s", source, field)
		}
	}
}
