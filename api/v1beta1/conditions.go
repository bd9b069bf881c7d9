package v1beta1

// Condition types on Services.
const (
	// ConditionAddressAssigned is True when the Service has every address that its spec asks for.
	ConditionAddressAssigned = "fairlead.io/AddressAssigned"
	// ConditionAnnounced is True when at least one node announces each of the Service's addresses.
	ConditionAnnounced = "fairlead.io/Announced"
)

// Reasons of ConditionAddressAssigned.
const (
	// ReasonAssigned: all addresses that were asked for are assigned.
	ReasonAssigned = "Assigned"
	// ReasonAssignedPartially: PreferDualStack, and one of the two families has no free address yet. The condition is True.
	ReasonAssignedPartially = "AssignedPartially"
	// ReasonNoPool: there is no pool that this Service may use.
	ReasonNoPool = "NoPool"
	// ReasonPoolExhausted: every pool that this Service may use has no free address of a family it needs.
	ReasonPoolExhausted = "PoolExhausted"
	// ReasonUnknownPool: the Service names a pool that does not exist.
	ReasonUnknownPool = "UnknownPool"
	// ReasonPoolNotAllowed: the Service names a pool, or an address of a pool, that is not open to it.
	ReasonPoolNotAllowed = "PoolNotAllowed"
	// ReasonPoolDisabled: the Service names a pool, or an address of a pool, that takes no new allocations.
	ReasonPoolDisabled = "PoolDisabled"
	// ReasonAddressNotInPool: a requested address is in no pool, or not in the requested one.
	ReasonAddressNotInPool = "AddressNotInPool"
	// ReasonAddressInUse: a requested address belongs to another Service, and they may not share it.
	ReasonAddressInUse = "AddressInUse"
	// ReasonAddressExcluded: a requested address lies in a pool but is never handed out (excludeAddresses, avoidBuggyIPs).
	ReasonAddressExcluded = "AddressExcluded"
	// ReasonInvalidRequest: the Service's request cannot be read or contradicts itself.
	ReasonInvalidRequest = "InvalidRequest"
	// ReasonNoClusterIP: the Service has no cluster IP (headless, or not yet given one), so nothing could forward to it.
	ReasonNoClusterIP = "NoClusterIP"
)

// Reasons of ConditionAnnounced.
const (
	// ReasonAnnounced: a node announces each address; the message names it.
	ReasonAnnounced = "Announced"
	// ReasonNoAdvertisement: no L2Advertisement or BGPAdvertisement selects the Service's addresses.
	ReasonNoAdvertisement = "NoAdvertisement"
	// ReasonNoSession: an address of the Service is to be advertised by BGP, and no session with a peer that it goes to is established.
	ReasonNoSession = "NoSession"
	// ReasonNotAnnounced: no speaker reports an address of the Service as announced (yet); the message says what to look at.
	ReasonNotAnnounced = "NotAnnounced"
	// ReasonAddressConflict: another host on the network uses an address of the Service. The condition is False where the address is not
	// announced for that reason, and True where it is announced all the same.
	ReasonAddressConflict = "AddressConflict"
)

// Condition types and reasons of IPAddressPool.
const (
	// ConditionReady is True when the pool, or what is left of it after conflicts, gives out addresses.
	ConditionReady = "Ready"

	// ReasonAccepted: the object is in use as written.
	ReasonAccepted = "Accepted"
	// ReasonConflict: part of the pool overlaps an older pool; the overlapping part of this, the newer, is not used.
	ReasonConflict = "Conflict"
	// ReasonDisabled: spec.disabled; no new allocations.
	ReasonDisabled = "Disabled"
	// ReasonInvalidAddresses: an entry cannot be read, or has addresses that can never be served; the pool gives out nothing.
	ReasonInvalidAddresses = "InvalidAddresses"
	// ReasonDeleting: the pool is being deleted and goes when its last address is released; no new allocations.
	ReasonDeleting = "Deleting"
)

// ConditionAccepted is the condition of kinds that configure announcing: True when the object is in use.
const ConditionAccepted = "Accepted"

// Reasons of ConditionAccepted beside ReasonAccepted.
const (
	// ReasonInvalidSelector: a label selector of the object cannot be read. It is a reason of an IPAddressPool's condition Ready as well.
	ReasonInvalidSelector = "InvalidSelector"
	// ReasonInvalidInterfacePattern: an interface pattern of the object cannot be read.
	ReasonInvalidInterfacePattern = "InvalidInterfacePattern"
	// ReasonInvalidSpec: a field of the object, or two together, cannot be used; the message names them.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonInvalidCommunity: a community cannot be read, or is reserved.
	ReasonInvalidCommunity = "InvalidCommunity"
	// ReasonUnknownCommunity: a BGPAdvertisement names a community that is neither well-known nor an alias of a Community object.
	ReasonUnknownCommunity = "UnknownCommunity"
	// ReasonAliasConflict: an alias of the Community object has no effect, because the name is well-known or an older object defines it
	// too. The condition is True: the other aliases are in use.
	ReasonAliasConflict = "AliasConflict"
	// ReasonAttributeConflict: the BGPAdvertisement and an older one want one route to have different attributes, and the older one's are
	// used. The condition is True.
	ReasonAttributeConflict = "AttributeConflict"
	// ReasonUnknownBFDProfile: a BGPPeer names a BFDProfile that does not exist.
	ReasonUnknownBFDProfile = "UnknownBFDProfile"
	// ReasonInvalidBFDProfile: a BGPPeer names a BFDProfile that is refused.
	ReasonInvalidBFDProfile = "InvalidBFDProfile"
	// ReasonBFDWithGracefulRestart: a BGPPeer has both, which contradict each other.
	ReasonBFDWithGracefulRestart = "BFDWithGracefulRestart"
	// ReasonPasswordNotFound: the Secret of a BGPPeer's password, or the key in it, does not exist.
	ReasonPasswordNotFound = "PasswordNotFound"
	// ReasonInvalidPassword: a BGPPeer's password cannot be used; the message says why, and never what it is.
	ReasonInvalidPassword = "InvalidPassword"
	// ReasonDuplicatePeer: an older BGPPeer has the same address, or interface, on a node that both select. The newer one has no session
	// there; the condition is True while it has other nodes.
	ReasonDuplicatePeer = "DuplicatePeer"
	// ReasonRouterIDConflict: an older BGPPeer sets another router ID on a node that both select. The newer one has no session there; the
	// condition is True while it has other nodes.
	ReasonRouterIDConflict = "RouterIDConflict"
)

// ConditionEstablished is the condition of BGPPeers: True when every node that is to keep a session has an established one.
const ConditionEstablished = "Established"

// Reasons of ConditionEstablished.
const (
	// ReasonAllEstablished: every session is established.
	ReasonAllEstablished = "AllEstablished"
	// ReasonPartlyEstablished: some sessions are established, and others are not; the message names the nodes of these.
	ReasonPartlyEstablished = "PartlyEstablished"
	// ReasonNotEstablished: no session is established; the Speaker objects of the nodes that the message names say why.
	ReasonNotEstablished = "NotEstablished"
	// ReasonNoNodes: no node is to keep a session.
	ReasonNoNodes = "NoNodes"
	// ReasonNotAccepted: the object is refused, see its condition Accepted.
	ReasonNotAccepted = "NotAccepted"
)

// Condition types and reasons of Speaker.
const (
	// SpeakerReady is True when the speaker has read the cluster's state and acts on it.
	SpeakerReady = "Ready"
	// SpeakerDataplaneReady is True while the node's service proxy reports itself healthy.
	SpeakerDataplaneReady = "DataplaneReady"
	// SpeakerAddressConflict is True while another host on the network claims an address that this node is to answer for.
	SpeakerAddressConflict = "AddressConflict"
	// SpeakerInterfacesReady is False while there is an interface that is usable, and layer 2 cannot answer on it.
	SpeakerInterfacesReady = "InterfacesReady"
	// SpeakerSettled is True when the node has been healthy for --l2-failback-delay, or no other node has. Until then others go first.
	SpeakerSettled = "Settled"

	// ReasonSynced: the speaker has read the cluster's state.
	ReasonSynced = "Synced"
	// ReasonStarting: the speaker is reading the cluster's state.
	ReasonStarting = "Starting"
	// ReasonStopping: the speaker is shutting down.
	ReasonStopping = "Stopping"
	// ReasonProxyHealthy: the health endpoint answered 200.
	ReasonProxyHealthy = "ProxyHealthy"
	// ReasonProxyUnhealthy: the health endpoint answered something else, or stopped answering.
	ReasonProxyUnhealthy = "ProxyUnhealthy"
	// ReasonNoProxyHealth: nothing has ever listened at the health endpoint; the gate is open.
	ReasonNoProxyHealth = "NoProxyHealth"
	// ReasonNoConflict: no foreign claim was seen.
	ReasonNoConflict = "NoConflict"
	// ReasonForeignClaim: a foreign hardware address claims an address of ours; the message names both.
	ReasonForeignClaim = "ForeignClaim"
	// ReasonInterfacesOpen: layer 2 answers on each usable interface.
	ReasonInterfacesOpen = "InterfacesOpen"
	// ReasonInterfaceFailed: an interface could not be opened; the message says why.
	ReasonInterfaceFailed = "InterfaceFailed"
	// ReasonSettled: addresses come (back) to the node as the election ranks it.
	ReasonSettled = "Settled"
	// ReasonSettling: the node has come, or come back, a short while ago, or is not healthy; the message says which.
	ReasonSettling = "Settling"
)
