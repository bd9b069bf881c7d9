// Package engine is a bgp.Router: it keeps the sessions with routers and tells them our routes. It is the only package that knows
// GoBGP, and takes of it only the codec that encodes path attributes and prefixes.
//
//	SetRoutes ─▶ routes ─ the prefixes that changed for a peer ─▶ pending ─▶ writer ─ UPDATE ─▶ router
//	             (all of them, of all peers)                      (of a session)  │  ▲             │
//	                                                              Adj-RIB-Out ◀───┘  └─ refresh ◀──┴─ OPEN, KEEPALIVE, … ─▶ wire
//
// A change of a route is noted, and the sessions it concerns are told which prefix has changed, not how. Each session's writer takes
// the prefixes that are pending, looks up what their routes are by then, compares that with what the router was told last
// (Adj-RIB-Out), and sends the difference. So a router that is slow holds up nobody and gets the last state instead of all that was
// between; what waits for it is bounded by the number of prefixes.
//
// What comes from the network is read by package wire alone: OPENs are judged, UPDATEs that a router sends are counted to be alive and
// thrown away unread. None of it reaches GoBGP.
package engine
