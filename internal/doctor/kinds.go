package doctor

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"fairlead.io/fairlead/api/v1beta1"
)

// Kind is a CustomResourceDefinition of Fairlead's, as far as it matters.
type Kind struct {
	// Resource is the plural name, such as ipaddresspools.
	Resource string
	// Established: the API server serves it; Why not is what its condition says.
	Established bool
	Why         string
	// Deleting: it is being deleted, and all its objects with it.
	Deleting bool
	// Schema (openAPIV3Schema) of the version of package v1beta1; nil: it is not served.
	Schema map[string]any
}

// oldestServer that has what the kinds' rules need: Kubernetes 1.31.
const oldestServer = 31

const (
	// howToInstall, either way: what is not there does not tell by which it was meant to come.
	howToInstall = "kubectl apply --server-side -k config/default, or by the Helm chart"
	installKinds = "install it by " + howToInstall
	upgradeKinds = "upgrade the CRDs: kubectl apply --server-side -k config/crd, of the release that is to run, or helm upgrade to its chart"
)

// kinds must be there, and be those of this release.
func (e *examiner) kinds() {
	e.server()
	before := len(e.found)
	if !e.unless(e.in.Kinds.Unread, "CustomResourceDefinitions") {
		for _, resource := range e.in.Absent {
			e.find(Problem, crd(resource), "the API server does not serve it: %s", installKinds)
		}
		return
	}
	if len(e.in.Kinds.Is) == 0 {
		e.find(Problem, "CustomResourceDefinitions", "there is none of group %s, so that Fairlead is not installed: %s", v1beta1.Group, installKinds)
		return
	}
	for _, k := range knownKinds() {
		i := slices.IndexFunc(e.in.Kinds.Is, func(x Kind) bool { return x.Resource == k.resource })
		if i < 0 {
			e.find(Problem, crd(k.resource), "there is none: %s", upgradeKinds)
			continue
		}
		e.kind(&e.in.Kinds.Is[i], k.object)
	}
	if e.quiet(before) {
		e.find(OK, "CustomResourceDefinitions", "the %d kinds of %s are established, and have the fields that this plugin knows", len(knownKinds()), v1beta1.GroupVersion)
	}
}

func (e *examiner) kind(k *Kind, object reflect.Type) {
	switch {
	case k.Deleting:
		e.find(Problem, crd(k.Resource), "it is being deleted, and all its objects with it: find out who does that; when it is gone, %s", installKinds)
		return
	case !k.Established:
		e.find(Problem, crd(k.Resource), "it is not established: %s", k.Why)
		return
	case k.Schema == nil:
		e.find(Problem, crd(k.Resource), "version %s is not served: %s", v1beta1.GroupVersion.Version, upgradeKinds)
		return
	}
	var d difference
	d.compare(object, k.Schema, "")
	if len(d.lacks) > 0 {
		e.find(Problem, crd(k.Resource), "it does not have %s, which this plugin knows, and the API server drops: %s; if an older release is meant to run, take its kubectl-fairlead", names(d.lacks), upgradeKinds)
	}
	if len(d.has) > 0 {
		e.find(Warning, crd(k.Resource), "it has %s, which this plugin does not know: take the kubectl-fairlead of the release that is installed", names(d.has))
	}
}

func (e *examiner) server() {
	var major, minor int
	if _, err := fmt.Sscanf(strings.TrimPrefix(e.in.Server, "v"), "%d.%d", &major, &minor); err != nil {
		e.find(Warning, "API server", "it says that its version is %q, which is none: Fairlead needs Kubernetes 1.%d or newer", e.in.Server, oldestServer)
		return
	}
	if major == 1 && minor < oldestServer {
		e.find(Problem, "API server", "it is of Kubernetes %s, and the kinds' rules need 1.%d or newer: upgrade the cluster", e.in.Server, oldestServer)
		return
	}
	e.find(OK, "API server", "Kubernetes %s", e.in.Server)
}

func crd(resource string) string {
	return "CustomResourceDefinition " + resource + "." + v1beta1.Group
}

type knownKind struct {
	resource string
	object   reflect.Type
}

// knownKinds are those that this program was built with.
func knownKinds() []knownKind {
	return []knownKind{
		{"ipaddresspools", reflect.TypeFor[v1beta1.IPAddressPool]()},
		{"l2advertisements", reflect.TypeFor[v1beta1.L2Advertisement]()},
		{"bgpadvertisements", reflect.TypeFor[v1beta1.BGPAdvertisement]()},
		{"bgppeers", reflect.TypeFor[v1beta1.BGPPeer]()},
		{"bfdprofiles", reflect.TypeFor[v1beta1.BFDProfile]()},
		{"communities", reflect.TypeFor[v1beta1.Community]()},
		{"speakers", reflect.TypeFor[v1beta1.Speaker]()},
	}
}

// difference between the fields of a type and those of a schema, as paths: those that the schema lacks, and those that it has beside.
type difference struct{ lacks, has []string }

// compare a type of ours with a schema. What is of another package is not looked into.
func (d *difference) compare(t reflect.Type, schema map[string]any, path string) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		switch {
		case t.Kind() == reflect.Slice:
			schema = child(schema, "items")
		case t.Kind() == reflect.Map:
			schema = child(schema, "additionalProperties")
		}
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t.PkgPath() != reflect.TypeFor[v1beta1.Speaker]().PkgPath() {
		return
	}
	properties := child(schema, "properties")
	ours := map[string]reflect.Type{}
	fieldsOf(t, ours)
	for name, field := range ours {
		if _, has := properties[name]; !has {
			d.lacks = append(d.lacks, path+name)
			continue
		}
		d.compare(field, child(properties, name), path+name+".")
	}
	for name := range properties {
		if _, known := ours[name]; !known && path != "" { // above are apiVersion, kind and metadata
			d.has = append(d.has, path+name)
		}
	}
	slices.Sort(d.lacks)
	slices.Sort(d.has)
}

// fieldsOf a struct, as JSON names them; the object's metadata is not among them.
func fieldsOf(t reflect.Type, out map[string]reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "metadata" || name == "-":
		case name != "":
			out[name] = f.Type
		case strings.Contains(options, "inline") && f.Type.PkgPath() == t.PkgPath():
			fieldsOf(f.Type, out)
		}
	}
}

func child(schema map[string]any, name string) map[string]any {
	m, _ := schema[name].(map[string]any)
	return m
}
