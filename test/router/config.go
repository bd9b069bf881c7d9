package router

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"text/template"
	"time"
)

//go:embed templates
var templates embed.FS

// Config is all that a configuration file says.
type Config struct {
	Hostname     string
	ASN, NodeASN uint32
	RouterID     netip.Addr
	// Networks are those that nodes may open sessions from, without being known one by one.
	Networks []netip.Prefix
	// Nodes are the nodes' addresses, for Settings.Static.
	Nodes []netip.Addr
	Settings
}

// Settings are what can be asked of a router. The zero value: nodes come from the networks, without a password, without BFD, with
// the router's own timers.
type Settings struct {
	// Static names each node, instead of taking sessions from the networks. gobgpd does so too when there is a password, which it asks of
	// nobody whom it does not know.
	Static bool `json:"static,omitempty"`
	// Password is for TCP MD5 (RFC 2385); empty: none.
	Password string `json:"password,omitempty"`
	// BFD runs beside each session, where the router has it.
	BFD *BFD `json:"bfd,omitempty"`
	// HoldTime that the router proposes, in whole seconds, 3 at least; 0: the router's default.
	HoldTime time.Duration `json:"holdTime,omitempty"`
}

// BFD is how a router's end of BFD sessions is.
type BFD struct {
	// Interval of transmission and of reception, in whole milliseconds, 10 to 60000.
	Interval time.Duration `json:"interval"`
	// Multiplier, 2 to 255.
	Multiplier int `json:"multiplier"`
}

// maxPassword is what TCP MD5 allows.
const maxPassword = 80

// Check says what of the settings a router of that kind cannot do.
func (s Settings) Check(k Kind) error {
	// What ends a word in one of the configuration files; FRR has no way to quote.
	if len(s.Password) > maxPassword || strings.ContainsFunc(s.Password, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune("\"\\'?!#", r)
	}) {
		return fmt.Errorf("the password cannot be used: want at most %d letters, digits and signs other than space, quotation marks, \\, ?, ! and #", maxPassword)
	}
	if s.HoldTime != 0 && (s.HoldTime < 3*time.Second || s.HoldTime > 65535*time.Second || s.HoldTime%time.Second != 0) {
		return fmt.Errorf("a hold time of %s cannot be used: want whole seconds, 3 to 65535", s.HoldTime)
	}
	if s.BFD == nil {
		return nil
	}
	if k == GoBGP {
		return errors.New("gobgpd has no BFD in version 3.10: leave it out, or take another router")
	}
	if i := s.BFD.Interval; i < 10*time.Millisecond || i > 60000*time.Millisecond || i%time.Millisecond != 0 {
		return fmt.Errorf("a BFD interval of %s cannot be used: want whole milliseconds, 10 to 60000", i)
	}
	if s.BFD.Multiplier < 2 || s.BFD.Multiplier > 255 {
		return fmt.Errorf("a BFD multiplier of %d cannot be used: want 2 to 255", s.BFD.Multiplier)
	}
	return nil
}

// Hold is the hold time in seconds.
func (s Settings) Hold() int64 { return int64(s.HoldTime / time.Second) }

// Keepalive is the time between keepalives in seconds: a third of the hold time, as RFC 4271, section 10, suggests.
func (s Settings) Keepalive() int64 { return s.Hold() / 3 }

// Milliseconds of the interval.
func (b BFD) Milliseconds() int64 { return b.Interval.Milliseconds() }

// FileName is what the configuration file of a kind is called.
func (k Kind) FileName() string {
	return map[Kind]string{FRR: "frr.conf", BIRD: "bird.conf", GoBGP: "gobgpd.toml"}[k]
}

// Render writes the configuration file for a router of a kind.
func Render(k Kind, c Config) ([]byte, error) {
	if err := c.Check(k); err != nil {
		return nil, fmt.Errorf("configure router %s: %w", c.Hostname, err)
	}
	name := k.FileName()
	t, err := template.New(name).ParseFS(templates, "templates/"+name)
	if err != nil {
		return nil, fmt.Errorf("parse the template of %s: %w", name, err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, c); err != nil {
		return nil, fmt.Errorf("render %s: %w", name, err)
	}
	return b.Bytes(), nil
}
