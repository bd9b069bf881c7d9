package wire

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

func opens() map[string]*Open {
	id := netip.MustParseAddr("192.0.2.1")
	return map[string]*Open{
		"no capability but a family": {ASN: 65001, HoldTime: 90 * time.Second, ID: id, IPv4: true},
		"all": {
			ASN: 4200000001, HoldTime: 65535 * time.Second, ID: id, IPv4: true, IPv6: true, FourOctetASN: true, RouteRefresh: true, ExtendedNextHop: true,
			GracefulRestart: &Restart{Restarting: true, Time: 4095 * time.Second, Preserved: []Family{IPv4, IPv6}},
		},
		"IPv6 alone, a helper": {ASN: 23456, HoldTime: 3 * time.Second, ID: id, IPv6: true, FourOctetASN: true, GracefulRestart: &Restart{}},
	}
}

func TestOpen(t *testing.T) {
	for name, o := range opens() {
		m, err := Read(bytes.NewReader(o.Message()), new(Buffer))
		if err != nil || m.Type() != TypeOpen {
			t.Fatalf("%s: %v, %s", name, err, m.Type())
		}
		if got, err := ParseOpen(m.Body()); err != nil || !reflect.DeepEqual(got, o) {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, o)
		}
	}
}

func TestOpenOfOthers(t *testing.T) {
	fixed := []byte{4, 0xfd, 0xe9, 0, 90, 192, 0, 2, 1}
	for name, c := range map[string]struct {
		body []byte
		want Open
		sub  int // of the error; -1: none
	}{
		"no parameters":          {[]byte{0}, Open{ASN: 65001, IPv4: true}, -1},
		"unknown capabilities":   {[]byte{8, 2, 6, 73, 1, 'x', 6, 0, 70, 0}[:9], Open{}, 0},
		"two parameters":         {[]byte{12, 2, 2, 2, 0, 2, 6, 1, 4, 0, 2, 0, 1}, Open{ASN: 65001, IPv6: true, RouteRefresh: true}, -1},
		"extended parameters":    {[]byte{255, 255, 0, 9, 2, 0, 6, 65, 4, 0, 1, 0, 0}, Open{ASN: 65536, IPv4: true, FourOctetASN: true}, -1},
		"extended, and a length": {[]byte{12, 255, 0, 9, 2, 0, 6, 65, 4, 0, 1, 0, 0}, Open{ASN: 65536, IPv4: true, FourOctetASN: true}, -1},
		"extended, of no length": {[]byte{0, 255, 0, 9, 2, 0, 6, 65, 4, 0, 1, 0, 0}, Open{}, 0},
		"multicast":              {[]byte{8, 2, 6, 1, 4, 0, 1, 0, 2}, Open{ASN: 65001}, -1},
		"authentication":         {[]byte{3, 1, 1, 0}, Open{}, int(UnsupportedParameter)},
		"length too long":        {[]byte{9, 2, 6, 1, 4, 0, 1, 0, 1}, Open{}, 0},
		"capability cut":         {[]byte{7, 2, 5, 1, 4, 0, 1, 0}, Open{}, 0},
		"short capability":       {[]byte{5, 2, 3, 65, 1, 0}, Open{}, 0},
		"odd restart":            {[]byte{7, 2, 5, 64, 3, 0, 1, 0}, Open{}, 0},
		"odd next hop":           {[]byte{5, 2, 3, 5, 1, 0}, Open{}, 0},
	} {
		got, err := ParseOpen(append(bytes.Clone(fixed), c.body...))
		if c.sub < 0 {
			c.want.HoldTime, c.want.ID = 90*time.Second, netip.MustParseAddr("192.0.2.1")
			if err != nil || !reflect.DeepEqual(*got, c.want) {
				t.Errorf("%s: got %+v, %v", name, got, err)
			}
			continue
		}
		var n *Notification
		if !errors.As(err, &n) || n.Code != OpenError || int(n.Subcode) != c.sub {
			t.Errorf("%s: got %v", name, err)
		}
	}
	var n *Notification
	if _, err := ParseOpen([]byte{3, 0, 1, 0, 90, 1, 1, 1, 1, 0}); !errors.As(err, &n) || n.Subcode != UnsupportedVersion || !bytes.Equal(n.Data, []byte{0, 4}) {
		t.Errorf("version 3: %v", err)
	}
}

func TestRead(t *testing.T) {
	good := Keepalive()
	change := func(i int, b byte) []byte {
		m := bytes.Clone(good)
		m[i] = b
		return m
	}
	for name, c := range map[string]struct {
		in  []byte
		sub uint8
	}{
		"marker":             {change(3, 0), NotSynchronized},
		"type 0":             {change(18, 0), BadMessageType},
		"type 6":             {change(18, 6), BadMessageType},
		"keepalive of 20":    {append(change(17, 20), 0), BadMessageLength},
		"too short":          {change(17, 18), BadMessageLength},
		"short open":         {change(18, byte(TypeOpen)), BadMessageLength},
		"longer than 4096":   {func() []byte { m := change(16, 0x10); m[17], m[18] = 1, byte(TypeUpdate); return m }(), BadMessageLength},
		"short refresh":      {change(18, byte(TypeRouteRefresh)), BadMessageLength},
		"short notification": {change(18, byte(TypeNotification)), BadMessageLength},
	} {
		var n *Notification
		if _, err := Read(bytes.NewReader(c.in), new(Buffer)); !errors.As(err, &n) || n.Code != HeaderError || n.Subcode != c.sub {
			t.Errorf("%s: %v", name, err)
		}
	}
	if m, err := Read(bytes.NewReader(good), new(Buffer)); err != nil || m.Type() != TypeKeepalive || len(m.Body()) != 0 {
		t.Errorf("keepalive: %v %v", m, err)
	}
	if _, err := Read(bytes.NewReader(good[:18]), new(Buffer)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut in the header: %v", err)
	}
	if _, err := Read(bytes.NewReader(RouteRefresh(IPv4)[:20]), new(Buffer)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut in the body: %v", err)
	}
	if f, ok := ParseRouteRefresh(RouteRefresh(IPv6).Body()); !ok || f != IPv6 {
		t.Errorf("refresh: %s, %t", f, ok)
	}
	if f, ok := ParseRouteRefresh([]byte{0, 1, 1, 1}); !ok || f != IPv4 {
		t.Errorf("refresh with something reserved: %s, %t", f, ok)
	}
	for _, body := range [][]byte{{0, 1, 0, 2}, {0, 3, 0, 1}, {0, 1, 0, 1, 0}} {
		if _, ok := ParseRouteRefresh(body); ok {
			t.Errorf("refresh %v is taken", body)
		}
	}
}

func TestNotification(t *testing.T) {
	long := strings.Repeat("x", 300)
	for want, n := range map[string]*Notification{
		"Cease: Administrative Shutdown":                                      {Code: Cease, Subcode: AdministrativeStop},
		`Cease: Administrative Shutdown ("back at noon")`:                     Shutdown(AdministrativeStop, "back at\n noon"),
		`Cease: Administrative Reset ("` + long[:64] + `…")`:                  Shutdown(AdministrativeReset, long),
		"OPEN Message Error: Bad Peer AS":                                     {Code: OpenError, Subcode: BadPeerAS},
		"OPEN Message Error":                                                  {Code: OpenError},
		"OPEN Message Error, subcode 99":                                      {Code: OpenError, Subcode: 99},
		"error 77, subcode 1":                                                 {Code: 77, Subcode: 1},
		"Cease: Administrative Reset":                                         {Code: Cease, Subcode: AdministrativeReset, Data: []byte{2, 0xff, 0xfe}},
		"Cease: Out of Resources":                                             {Code: Cease, Subcode: OutOfResources, Data: []byte{1, 'x'}},
		"Hold Timer Expired":                                                  {Code: HoldTimerExpired},
		"Finite State Machine Error: Unexpected Message in Established State": {Code: FSMError, Subcode: 3},
	} {
		m, err := Read(bytes.NewReader(n.Message()), new(Buffer))
		if err != nil {
			t.Fatal(err)
		}
		if got := ParseNotification(m.Body()).Error(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// Whatever is read of hostile input is within bounds, and an OPEN that is taken can be sent again as the same.
func FuzzRead(f *testing.F) {
	for _, o := range opens() {
		f.Add([]byte(o.Message()))
	}
	f.Add([]byte(Shutdown(AdministrativeStop, "why").Message()))
	f.Add([]byte(RouteRefresh(IPv4)))
	f.Fuzz(func(t *testing.T, in []byte) {
		m, err := Read(bytes.NewReader(in), new(Buffer))
		if err != nil {
			return
		}
		if len(m) > MaxLen || len(m) > len(in) {
			t.Fatalf("a message of %d bytes of %d", len(m), len(in))
		}
		switch m.Type() {
		case TypeOpen:
			o, err := ParseOpen(m.Body())
			if err != nil {
				if n := new(Notification); !errors.As(err, &n) {
					t.Fatal(err)
				}
				return
			}
			again, err := ParseOpen(o.Message().Body())
			if err != nil || o.IPv4 != again.IPv4 && (o.IPv4 || o.IPv6) || o.ASN != again.ASN && o.FourOctetASN {
				t.Fatalf("%+v is sent as %+v, %v", o, again, err)
			}
		case TypeNotification:
			if text := ParseNotification(m.Body()).Error(); text == "" || len(text) > 600 {
				t.Fatalf("text %q", text)
			}
		case TypeRouteRefresh:
			ParseRouteRefresh(m.Body())
		default:
		}
	})
}
