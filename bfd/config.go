package bfd

import (
	"fmt"
	"math"
	"time"
)

// Config is what the local system wants of a session. All of it may change while the session lives.
type Config struct {
	// DesiredMinTx is the time between packets that this end would like to send with, when the session is Up (until then at
	// least a second): 1 µs to 4,294 s.
	DesiredMinTx time.Duration
	// RequiredMinRx is the least time between packets that this end can receive with: 1 µs to 4,294 s.
	RequiredMinRx time.Duration
	// DetectMult is the number of packets in a row that the neighbour must miss to find this end lost: 1 to 255.
	DetectMult uint8
	// Passive waits for the neighbour's first packet before sending any (RFC 5880, 6.1). One end must be active.
	Passive bool
	// Auth authenticates packets in both directions; nil: none is authenticated.
	Auth *Auth
}

// Validate says what is wrong.
func (c *Config) Validate() error {
	for _, i := range []struct {
		name string
		d    time.Duration
	}{{"desired transmit", c.DesiredMinTx}, {"required receive", c.RequiredMinRx}} {
		if i.d < time.Microsecond || i.d > math.MaxUint32*time.Microsecond {
			return fmt.Errorf("%s interval %s is out of range: it must be 1µs to %s", i.name, i.d, math.MaxUint32*time.Microsecond)
		}
	}
	if c.DetectMult == 0 {
		return fmt.Errorf("detection multiplier is 0: it must be 1 to %d", math.MaxUint8)
	}
	if c.Auth != nil {
		return c.Auth.Validate()
	}
	return nil
}

// interval is a duration as packets carry it.
func interval(d time.Duration) Interval { return Interval(d / time.Microsecond) }
