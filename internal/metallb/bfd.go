package metallb

import "fairlead.io/fairlead/api/v1beta1"

// bfdProfile has the same defaults and ranges with both, and one thing that we have not: echo packets.
func (c *converter) bfdProfile(s *source) {
	f := s.spec
	profile := v1beta1.BFDProfile{TypeMeta: typeMeta("BFDProfile"), ObjectMeta: s.meta(c.names.take("BFDProfile", s.name))}
	if profile.Name != s.name {
		s.item.Find(Changes, "name", "it is imported as BFDProfile %s, because %q is no name of an object or another profile has it", profile.Name, s.name)
	}
	c.profiles[s.name] = profile.Name
	for _, x := range []struct {
		name        string
		least, most int64
		to          *int32
	}{
		{"receiveInterval", 10, 60000, &profile.Spec.ReceiveInterval},
		{"transmitInterval", 10, 60000, &profile.Spec.TransmitInterval},
		{"detectMultiplier", 2, 255, &profile.Spec.DetectMultiplier},
		{"minimumTtl", 1, 254, &profile.Spec.MinimumTTL},
	} {
		if n := f.number(x.name, x.least, x.most); n != nil {
			*x.to = int32(*n)
		}
	}
	profile.Spec.PassiveMode = f.is("passiveMode")
	echo := f.is("echoMode")
	if echo {
		f.find(NoEquivalent, "echoMode", "Fairlead sends and reflects no echo packets: a lost peer is found by the control packets alone, within detectMultiplier × the greater of the two ends' intervals. Set the intervals to what the detection time is to be")
	}
	if f.number("echoInterval", 10, 60000) != nil && echo {
		f.find(NoEquivalent, "echoInterval", "there are no echo packets: see echoMode")
	}
	if s.item.broken() {
		return
	}
	c.out.BFDProfiles = append(c.out.BFDProfiles, profile)
	c.becomes(s, "BFDProfile", profile.Name)
}
