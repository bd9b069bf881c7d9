package metallb

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.io/fairlead/api/v1beta1"
)

// times of a session. MetalLB takes a third of the hold time for the keepalive time, as we do, and thrice the keepalive time for a hold time
// that is not set, as we do not.
func times(f *fields, spec *v1beta1.BGPPeerSpec) {
	spec.HoldTime = wholeSeconds(f, "holdTime")
	spec.KeepaliveTime = wholeSeconds(f, "keepaliveTime")
	if f.has("holdTime") && spec.HoldTime == nil && !f.item.mentions(f.at("holdTime")) {
		f.find(Changes, "holdTime", "0 is left out, and the hold time is 90s: Fairlead always watches it. Of MetalLB's versions some take 0 for not set, and some watch nothing")
	}
	switch {
	case spec.HoldTime == nil && spec.KeepaliveTime != nil:
		spec.HoldTime = &metav1.Duration{Duration: 3 * spec.KeepaliveTime.Duration}
		f.find(Changes, "keepaliveTime", "MetalLB makes a hold time of thrice as much of it, which is written out: holdTime: %s", spec.HoldTime.Duration)
	case !f.has("holdTime") && !f.config:
		f.find(Changes, "holdTime", "it is not set, which is 90s here as in MetalLB without FRR, and was 180s with FRR; the shorter of both ends' times counts: for another one set holdTime")
	}
}

// wholeSeconds of a duration; nil: absent or 0.
func wholeSeconds(f *fields, name string) *metav1.Duration {
	d := f.duration(name)
	if d == nil || *d == 0 {
		return nil
	}
	whole := d.Truncate(time.Second)
	if whole != *d {
		f.find(Changes, name, "%s is no whole number of seconds, which is all that BGP knows; it is imported as %s", *d, whole)
		if whole == 0 {
			return nil
		}
	}
	return &metav1.Duration{Duration: whole}
}
