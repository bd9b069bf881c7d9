package metallb

import (
	"errors"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/allocation"
	"fairlead.io/fairlead/internal/config"
	"fairlead.io/fairlead/ipam"
)

// validate everything by Fairlead's own rules. What they refuse is left out.
func (c *converter) validate() {
	c.out.sort()
	c.out.Pools = keep(c.out.Pools, func(p *v1beta1.IPAddressPool) bool {
		err := poolSizes(p)
		if pool, invalid := allocation.Pool(p); err == nil && invalid != "" {
			err = errors.New(pool.Invalid)
		}
		return c.accept("IPAddressPool", p.Name, err)
	})
	c.out.L2Advertisements = keep(c.out.L2Advertisements, func(a *v1beta1.L2Advertisement) bool {
		err := l2Sizes(a)
		if err == nil {
			_, err = config.CompileL2Advertisement(a)
		}
		return c.accept("L2Advertisement", a.Name, err)
	})
	c.out.BGPAdvertisements = keep(c.out.BGPAdvertisements, func(a *v1beta1.BGPAdvertisement) bool {
		return c.accept("BGPAdvertisement", a.Name, bgpSizes(a))
	})
	c.out.BGPPeers = keep(c.out.BGPPeers, func(p *v1beta1.BGPPeer) bool { return c.accept("BGPPeer", p.Name, peerSizes(p)) })
	c.out.Communities = keep(c.out.Communities, func(o *v1beta1.Community) bool {
		return c.accept("Community", o.Name, atMost("spec.communities", len(o.Spec.Communities), 256))
	})
	for c.validateBGP() { // again: what is refused may have been in the way of something
	}
	c.out.Secrets = keep(c.out.Secrets, func(s *corev1.Secret) bool {
		return slices.ContainsFunc(c.out.BGPPeers, func(p v1beta1.BGPPeer) bool {
			return p.Spec.PasswordSecretRef != nil && p.Spec.PasswordSecretRef.Name == s.Name
		})
	})
	c.overlaps()
}

// validateBGP reports whether it has changed anything.
func (c *converter) validateBGP() bool {
	b := config.CompileBGP(&config.BGPObjects{Peers: c.out.BGPPeers, Advertisements: c.out.BGPAdvertisements, Profiles: c.out.BFDProfiles,
		Communities: c.out.Communities, Secrets: c.passwords})
	changed := false
	refused := func(kind, name string) error {
		err := b.Refused(kind, name)
		if err == nil {
			return nil
		}
		changed = true
		return err
	}
	c.out.BFDProfiles = keep(c.out.BFDProfiles, func(o *v1beta1.BFDProfile) bool {
		return c.accept("BFDProfile", o.Name, refused(config.KindBFDProfile, o.Name))
	})
	c.out.Communities = keep(c.out.Communities, func(o *v1beta1.Community) bool {
		return c.accept("Community", o.Name, refused(config.KindCommunity, o.Name))
	})
	c.out.BGPPeers = keep(c.out.BGPPeers, func(p *v1beta1.BGPPeer) bool {
		err := refused(config.KindBGPPeer, p.Name)
		var e *config.Error
		if errors.As(err, &e) && e.Reason == v1beta1.ReasonRouterIDConflict && p.Spec.RouterID != "" {
			c.made[made{"BGPPeer", p.Name}].Find(NoEquivalent, "spec.routerID", "%s is left out, because %s", p.Spec.RouterID, plain(err))
			p.Spec.RouterID = ""
			return true
		}
		return c.accept("BGPPeer", p.Name, err)
	})
	c.out.BGPAdvertisements = keep(c.out.BGPAdvertisements, func(a *v1beta1.BGPAdvertisement) bool {
		return c.accept("BGPAdvertisement", a.Name, refused(config.KindBGPAdvertisement, a.Name))
	})
	return changed
}

// keep those that a function says yes to.
func keep[T any](list []T, yes func(*T) bool) []T {
	out := list[:0]
	for i := range list {
		if o := list[i]; yes(&o) {
			out = append(out, o)
		}
	}
	return out
}

// accept an object, unless there is an error; then the source of it is broken.
func (c *converter) accept(kind, name string, err error) bool {
	if err == nil {
		return true
	}
	item := c.made[made{kind, name}]
	item.Becomes = slices.DeleteFunc(item.Becomes, func(s string) bool { return s == kind+" "+name })
	item.Find(Broken, "", "%s %s would be refused: %s", kind, name, plain(err))
	return false
}

// plain is an error of the compiler without its last words, which are about an object that exists.
func plain(err error) string {
	s := err.Error()
	if i := strings.LastIndex(s, " is not used until then"); i > 0 {
		if j := strings.LastIndexAny(s[:i], ";,"); j > 0 {
			return s[:j]
		}
	}
	return s
}

// overlaps are refused by MetalLB's webhook; here the older pool keeps them.
func (c *converter) overlaps() {
	for i := range c.out.Pools {
		newer, _ := allocation.Pool(&c.out.Pools[i])
		for j := range i {
			older, _ := allocation.Pool(&c.out.Pools[j])
			for _, r := range newer.Addresses {
				for _, o := range older.Addresses {
					if r.Overlaps(o) {
						c.made[made{"IPAddressPool", newer.Name}].Find(Changes, "spec.addresses", "%s overlaps %s of pool %s, which MetalLB refuses; with Fairlead the older of the two pools has what is in both: correct one of them",
							ipam.FormatRange(r), ipam.FormatRange(o), older.Name)
					}
				}
			}
		}
	}
}
