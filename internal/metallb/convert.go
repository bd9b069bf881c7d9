package metallb

import (
	"cmp"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"fairlead.io/fairlead/internal/config"
)

// Group is the API group of MetalLB's kinds.
const Group = "metallb.io"

// DefaultNamespace is where MetalLB's manifests put it.
const DefaultNamespace = "metallb-system"

// Options are what a conversion depends on beside the objects.
type Options struct {
	// MetalLBNamespace is the one whose objects MetalLB reads; empty: where its programs are, or else DefaultNamespace.
	MetalLBNamespace string
	// Namespace that Fairlead runs in, and has its Secrets in.
	Namespace string
}

// Convert MetalLB's objects, and what of the cluster's other objects says how it is used: its Deployment and DaemonSet, Secrets and Services.
// Objects of other kinds are passed over. The same objects in another order give the same result.
func Convert(objects []Object, o Options) *Result {
	c := &converter{options: o, names: names{}, aliases: map[string]alias{}, secrets: map[string]Object{}, made: map[made]*Item{},
		passwords: config.Secrets{}, seen: map[string]Object{}, statuses: map[string]int{}, profiles: map[string]string{}}
	objects = slices.Clone(objects)
	slices.SortStableFunc(objects, func(a, b Object) int {
		return cmp.Or(cmp.Compare(text(a, "kind"), text(b, "kind")), createdOf(a).Compare(createdOf(b).Time), cmp.Compare(text(a, "metadata", "namespace"), text(b, "metadata", "namespace")),
			cmp.Compare(text(a, "metadata", "name"), text(b, "metadata", "name")), cmp.Compare(text(b, "apiVersion"), text(a, "apiVersion")))
	})
	c.readPrograms(objects)
	for _, obj := range objects {
		c.sort(obj)
	}
	c.convertAll()
	c.validate()
	c.readServices()
	c.finish()
	return &c.out
}

type converter struct {
	options Options
	out     Result
	names   names
	// sources are MetalLB's objects by kind, configs its ConfigMaps.
	sources map[string][]*source
	configs []Object
	// seen are the objects that were read, by kind, namespace and name.
	seen    map[string]Object
	secrets map[string]Object
	aliases map[string]alias
	// made knows what each object is made of.
	made      map[made]*Item
	passwords config.Secrets
	statuses  map[string]int
	// profiles are the names of BFDProfiles by those that they had.
	profiles map[string]string
}

type made struct{ kind, name string }

// source is an object that is read, or an entry of the old ConfigMap that stands for one.
type source struct {
	item    *Item
	kind    string
	version string
	name    string
	created metav1.Time
	labels  map[string]string
	// spec has the fields to convert, root all.
	spec, root *fields
}

// becomes notes that an object is made of the source.
func (c *converter) becomes(s *source, kind, name string) {
	s.item.Becomes = append(s.item.Becomes, kind+" "+name)
	c.made[made{kind, name}] = s.item
}

func createdOf(o Object) metav1.Time {
	var t metav1.Time
	if s := text(o, "metadata", "creationTimestamp"); s != "" {
		_ = t.UnmarshalQueryParameter(s) // what is no time is none
	}
	return t
}

// sort an object to its kind.
func (c *converter) sort(o Object) {
	group, version, _ := strings.Cut(text(o, "apiVersion"), "/")
	if version == "" {
		group, version = "", group
	}
	kind, namespace, name := text(o, "kind"), text(o, "metadata", "namespace"), text(o, "metadata", "name")
	core := group == "" && version == "v1"
	if namespace == "" {
		namespace = c.out.Programs.Namespace
		if core && kind == "Service" {
			namespace = corev1.NamespaceDefault
		}
	}
	switch {
	case core && kind == "Service":
		c.addService(o, namespace, name)
		return
	case core && (kind == "Secret" || kind == "ConfigMap"):
		if namespace == c.out.Programs.Namespace {
			c.addCore(o, kind, name)
		}
		return
	case group != Group:
		return
	}
	label := kind + " " + namespace + "/" + name
	if isStatus(kind) {
		c.statuses[kind]++
		return
	}
	if !known(kind, version) {
		c.out.Report.Add(label, version).Find(Unknown, "", "no version of MetalLB that this program knows has a kind %s in version %q: it is not imported", kind, version)
		return
	}
	if namespace != c.out.Programs.Namespace {
		c.out.Report.Add(label, version).Find(Ignored, "", "MetalLB reads the objects in its own namespace alone, which is %s: it is not imported. If MetalLB is in %s, name that by --metallb-namespace",
			c.out.Programs.Namespace, namespace)
		return
	}
	if other, twice := c.seen[label]; twice {
		item := c.out.Report.Add(label, version)
		if reflect.DeepEqual(other["spec"], o["spec"]) {
			item.Find(Ignored, "", "it is in what was read a second time, and says the same")
		} else {
			item.Find(Broken, "", "it is in what was read a second time and differs from the first, which is taken: read it only once")
		}
		return
	}
	c.seen[label] = o
	if text(o, "metadata", "deletionTimestamp") != "" {
		c.out.Report.Add(label, version).Find(Ignored, "", "it is being deleted")
		return
	}
	c.addSource(o, label, kind, version, name)
}

// addSource opens one of MetalLB's objects.
func (c *converter) addSource(o Object, label, kind, version, name string) {
	item := c.out.Report.Add(label, version)
	rest := Object{}
	for k, v := range o {
		if k != "apiVersion" && k != "kind" && k != "metadata" && k != "status" {
			rest[k] = v
		}
	}
	s := &source{item: item, kind: kind, version: version, name: name, created: createdOf(o), root: newFields(item, "", rest, nil)}
	if objectName(name) != name {
		item.Find(Broken, "metadata.name", "%q is no name that an object may have", name)
	}
	s.readLabels(o)
	if s.spec = s.root.part("spec"); s.spec == nil {
		s.spec = newFields(item, "spec", Object{}, nil)
	}
	if c.sources == nil {
		c.sources = map[string][]*source{}
	}
	c.sources[kind] = append(c.sources[kind], s)
}

// readLabels takes the labels over: advertisements may select pools by them.
func (s *source) readLabels(o Object) {
	metadata, ok := o["metadata"].(Object)
	if !ok || metadata["labels"] == nil {
		return
	}
	m, ok := metadata["labels"].(Object)
	if !ok {
		s.item.Find(Broken, "metadata.labels", "it must be a mapping and is %s: correct it", typeName(metadata["labels"]))
		return
	}
	s.labels = map[string]string{}
	for _, k := range sortedKeys(m) {
		v, ok := m[k].(string)
		if !ok || len(validation.IsQualifiedName(k))+len(validation.IsValidLabelValue(v)) > 0 {
			s.item.Find(Broken, "metadata.labels", "%s is no label that an object may have: correct it", k)
			continue
		}
		s.labels[k] = v
	}
}

// convertAll converts kind by kind. What has a name of its own comes before what is given one, so that it keeps it.
func (c *converter) convertAll() {
	for _, step := range []struct {
		kind    string
		convert func(*source)
	}{
		{"Community", c.community}, {"BFDProfile", c.bfdProfile}, {"IPAddressPool", c.pool}, {"L2Advertisement", c.l2Advertisement},
		{"BGPAdvertisement", c.bgpAdvertisement}, {"BGPPeer", c.bgpPeer}, {"AddressPool", c.addressPool},
	} {
		for _, s := range c.sources[step.kind] {
			step.convert(s)
			s.root.done()
		}
	}
	for _, o := range c.configs {
		c.configMap(o)
	}
}

func known(kind, version string) bool {
	switch kind {
	case "AddressPool":
		return version == "v1alpha1" || version == "v1beta1"
	case "BGPPeer":
		return version == "v1beta1" || version == "v1beta2"
	case "IPAddressPool", "L2Advertisement", "BGPAdvertisement", "BFDProfile", "Community":
		return version == "v1beta1"
	}
	return false
}

// isStatus reports whether a kind is one in which MetalLB tells what it does.
func isStatus(kind string) bool {
	return slices.Contains([]string{"ServiceL2Status", "ServiceBGPStatus", "ConfigurationState", "ConfigurationStatus"}, kind)
}

// Kinds that are read from a cluster, as its API names them.
func Kinds() []string {
	return []string{"addresspools", "ipaddresspools", "l2advertisements", "bgpadvertisements", "bgppeers", "bfdprofiles", "communities",
		"servicel2statuses", "servicebgpstatuses", "configurationstates", "configurationstatuses"}
}
