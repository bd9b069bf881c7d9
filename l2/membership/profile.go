package membership

import (
	"fmt"
	"time"

	"github.com/hashicorp/memberlist"
)

// Profile says how hard the gossip looks for dead members.
type Profile string

// The profiles. A dead member is found within about the time given; suspicions grow with the logarithm of the number of members.
const (
	// Fast finds it in 0.7 to 1 s with up to 10 members and 1 to 1.6 s with 100: a probe each 200 ms that may take 100 ms, and a suspicion
	// of 400 ms. Where CPUs are starved for longer than that, members are suspected wrongly.
	Fast Profile = "fast"
	// LAN finds it in 2.5 to 5 s: for some hundred members, or nodes that are slow to answer.
	LAN Profile = "lan"
	// WAN finds it in 20 to 60 s: for members far apart. It is of little use where addresses are to move fast.
	WAN Profile = "wan"
)

// ParseProfile reads a profile's name.
func ParseProfile(s string) (Profile, error) {
	switch p := Profile(s); p {
	case Fast, LAN, WAN:
		return p, nil
	}
	return "", fmt.Errorf("%q is no gossip profile: fast, lan or wan", s)
}

// config is memberlist's for the profile.
func (p Profile) config() *memberlist.Config {
	switch p {
	case WAN:
		return memberlist.DefaultWANConfig()
	case LAN:
		c := memberlist.DefaultLANConfig()
		c.SuspicionMult = 2
		return c
	default:
		c := memberlist.DefaultLANConfig()
		c.ProbeInterval = 200 * time.Millisecond
		c.ProbeTimeout = 100 * time.Millisecond
		c.SuspicionMult = 2
		c.GossipInterval = 100 * time.Millisecond // a hand-over waits for it, and so does who hears another announce its address
		c.PushPullInterval = 15 * time.Second
		c.TCPTimeout = 2 * time.Second
		return c
	}
}

// DetectionBound is more than it takes to find a dead member.
func (p Profile) DetectionBound() time.Duration {
	switch p {
	case WAN:
		return 90 * time.Second
	case LAN:
		return 10 * time.Second
	default:
		return 3 * time.Second
	}
}
