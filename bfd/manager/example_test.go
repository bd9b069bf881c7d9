package manager_test

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"fairlead.io/fairlead/bfd"
	"fairlead.io/fairlead/bfd/manager"
	"fairlead.io/fairlead/bfd/udp"
)

// A session with a router, and what to do when it is lost.
func Example() {
	m := manager.New()
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := m.Close(ctx); err != nil {
			fmt.Println(err)
		}
	}()
	events := m.NewEvents()
	router := manager.Key{Peer: netip.MustParseAddr("192.0.2.1"), Interface: "eth0", Port: udp.PortSingleHop}
	settings := manager.Settings{Config: bfd.Config{DesiredMinTx: 100 * time.Millisecond, RequiredMinRx: 100 * time.Millisecond, DetectMult: 3}}
	if err := m.Add(router, settings, events); err != nil {
		fmt.Println(err)
		return
	}
	for e := range events.C() {
		if e.Problem != nil {
			fmt.Println(e.Problem)
		}
		if e.Old == bfd.Up && e.New == bfd.Down && e.RemoteState != bfd.AdminDown { // perhaps for the problem
			fmt.Printf("%s is lost: %s\n", e.Key.Peer, e.Diagnostic)
			return
		}
	}
}
