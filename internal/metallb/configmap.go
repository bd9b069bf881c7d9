package metallb

import (
	"strings"
	"unicode"
)

// addCore takes note of a Secret or ConfigMap in MetalLB's namespace.
func (c *converter) addCore(o Object, kind, name string) {
	label := kind + " " + c.out.Programs.Namespace + "/" + name
	if _, twice := c.seen[label]; twice {
		return
	}
	c.seen[label] = o
	switch {
	case kind == "Secret":
		c.secrets[name] = o
	case name == "bgpextras":
		if text(o, "data", "extras") != "" {
			c.out.Report.Add(label, "").Find(NoEquivalent, "data.extras", "it is configuration for FRR, which Fairlead does not run: see what of it the nodes' peers need, and configure the routers for it")
		}
	case text(o, "data", configKey) != "":
		c.configs = append(c.configs, o)
	}
}

// configKey is the key of the configuration in the ConfigMap.
const configKey = "config"

// configMap converts the configuration of the time before there were custom resources. Its entries read as those would.
func (c *converter) configMap(o Object) {
	label := "ConfigMap " + c.out.Programs.Namespace + "/" + text(o, "metadata", "name")
	if len(c.sources) > 0 {
		c.out.Report.Add(label, "").Find(Ignored, "data.config", "MetalLB from 0.13 on reads its custom resources, of which there are some: the ConfigMap is a thing of the past")
		return
	}
	item := c.out.Report.Add(label, "")
	objects, twice, err := Document([]byte(text(o, "data", configKey)))
	switch {
	case err != nil:
		item.Find(Broken, "data.config", "it cannot be read: %s", err)
		return
	case twice != nil:
		item.Find(Broken, "data.config", "it cannot be read, and MetalLB refuses it too: %s", twice)
		return
	case len(objects) == 0:
		item.Find(Ignored, "data.config", "it is empty")
		return
	}
	root := newFields(item, "", objects[0], nil)
	root.config, root.spelling = true, kebab
	c.configCommunities(o, label, root)
	for _, section := range []struct {
		field, kind, key string
		convert          func(*source)
	}{
		{"bfdProfiles", "BFDProfile", "name", c.bfdProfile},
		{"peers", "BGPPeer", "peerAddress", c.bgpPeer},
		{"addressPools", "AddressPool", "name", c.addressPool},
	} {
		for _, f := range root.entries(section.field) {
			c.configEntry(o, label+" "+root.spell(section.field), section.kind, section.key, f, section.convert)
		}
		root.parts = nil // each has an item of its own
	}
	if root.has("peerAutodiscovery") {
		root.get("peerAutodiscovery")
		root.find(NoEquivalent, "peerAutodiscovery", "peers are not read from labels or annotations of nodes: write a BGPPeer for each router, with the nodes that it is for in nodeSelectors")
	}
	root.done()
}

// configEntry is an entry of a list in the ConfigMap, with an item of its own.
func (c *converter) configEntry(o Object, label, kind, key string, f *fields, convert func(*source)) {
	name := ""
	if s, ok := f.m[f.spell(key)].(string); ok {
		name = s
	}
	item := c.out.Report.Add(strings.TrimSpace(label+" "+name), "")
	s := &source{item: item, kind: kind, name: name, created: createdOf(o)}
	s.root = newFields(item, "", f.m, f)
	s.spec = s.root
	switch {
	case kind == "BGPPeer":
		s.name = "peer-" + strings.NewReplacer(":", "-", ".", "-").Replace(name)
	case name == "":
		item.Find(Broken, "name", "it is missing, or no text")
	default:
		s.spec.get(key)
	}
	convert(s)
	s.root.done()
}

func (c *converter) configCommunities(o Object, label string, root *fields) {
	aliases := root.part("bgpCommunities")
	if aliases == nil {
		return
	}
	root.parts = nil
	item := c.out.Report.Add(label+" "+root.spell("bgpCommunities"), "")
	s := &source{item: item, kind: "Community", name: "bgp-communities", created: createdOf(o)}
	f := newFields(item, "", aliases.m, root)
	f.spelling = nil
	obj := c.newCommunity(s)
	for _, name := range sortedKeys(f.m) {
		c.addAlias(f, name, name, name, f.text(name), obj)
	}
	c.addCommunity(s, obj)
	f.done()
}

// kebab is how the ConfigMap spells the names of fields.
func kebab(name string) string {
	switch name {
	case "myASN":
		return "my-asn"
	case "peerASN":
		return "peer-asn"
	case "routerID":
		return "router-id"
	case "localPref":
		return "localpref"
	case "ebgpMultiHop":
		return "ebgp-multihop"
	case "avoidBuggyIPs":
		return "avoid-buggy-ips"
	case "bgpAdvertisements":
		return "bgp-advertisements"
	case "aggregationLengthV6":
		return "aggregation-length-v6"
	}
	var b strings.Builder
	for _, r := range name {
		if unicode.IsUpper(r) {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
