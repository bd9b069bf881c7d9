// Package gobgp is a bgp.Router whose engine is an embedded GoBGP server. It is the only package that knows GoBGP.
//
// The work is divided at the session. What comes from the network is read here, by a small codec (package wire): connections are
// made outward, OPENs exchanged and judged, keepalives sent, the hold time watched; UPDATEs that a router sends are counted to be
// alive and thrown away unread. GoBGP has the table of routes and its export policies, and makes the UPDATE messages; it meets a
// router only after the session with it is established, as a neighbour behind a connection over the loopback interface. What it
// says there is passed on:
//
//	SetRoutes ─ path with tags ─▶ GoBGP: table ─ policy of the neighbour ─▶ UPDATE ─ loopback ─▶ session ─ TCP ─▶ router
//	                                                                                                ▲              │
//	                                                              ROUTE-REFRESH, written anew ◀─────┴── OPEN, … ◀──┘
//
// So nothing that a router sends can grow GoBGP's tables, hold up its loop or meet its parser; a router that cannot be reached is
// none of its neighbours and costs it nothing; and a session begins as soon as the router answers, where GoBGP would first wait
// for two seconds.
//
// A path's only communities are its tags, one for each peer that it goes to; a tag names the peer and a set of attributes. Each
// neighbour has a policy with a statement for each set, which puts the attributes in the place of the tags. So to change a route is
// to replace one path, and policies change only when a set is new to a peer.
package gobgp
