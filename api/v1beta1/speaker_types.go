package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// SpeakerInterface is an interface that the speaker can announce on.
type SpeakerInterface struct {
	// name of the interface.
	// +required
	Name string `json:"name"`

	// hardwareAddress that ARP and NDP answers carry.
	// +required
	HardwareAddress string `json:"hardwareAddress"`

	// settling: the interface has come back a short while ago, and nodes whose interfaces have been up for longer go first.
	// +optional
	Settling bool `json:"settling,omitempty"`
}

// Layer2Address is an address that this node answers for.
type Layer2Address struct {
	// ip that is answered for.
	// +required
	IP string `json:"ip"`

	// interfaces that it is answered on; absent: every usable interface.
	// +optional
	// +listType=atomic
	Interfaces []string `json:"interfaces,omitempty"`

	// since is when this node took the address over. Of several nodes that claim an address the last one is right.
	// +required
	Since metav1.MicroTime `json:"since"`
}

// MaxAddressConflicts is how many entries the list of conflicts has at most.
const MaxAddressConflicts = 100

// AddressConflict is the claim of another host on the network, one without a speaker, to an address that this node is to answer for.
type AddressConflict struct {
	// ip that is claimed.
	// +required
	IP string `json:"ip"`

	// interface that the claim was seen on.
	// +required
	Interface string `json:"interface"`

	// hardwareAddress of the host that claims the address.
	// +required
	HardwareAddress string `json:"hardwareAddress"`

	// since is when the conflict began.
	// +required
	Since metav1.MicroTime `json:"since"`

	// announced: this node answers for the address nonetheless, because it did so before the conflict, and defends it (RFC 5227,
	// 2.4(b)). Otherwise it does not announce the address, which was found in use before the first announcement.
	// +required
	Announced bool `json:"announced"`
}

// BGPSessionStatus is one BGP session of this node.
type BGPSessionStatus struct {
	// peer is the BGPPeer's name.
	// +required
	Peer string `json:"peer"`

	// state of the session (RFC 4271, 8.2.2): Idle, Connect, Active, OpenSent, OpenConfirm, Established.
	// +required
	State string `json:"state"`

	// since is when the session entered the state.
	// +optional
	Since metav1.Time `json:"since,omitzero"`

	// lastError is why the session last went down or does not come up.
	// +optional
	LastError string `json:"lastError,omitempty"`

	// routesAdvertised to the peer.
	// +optional
	RoutesAdvertised int32 `json:"routesAdvertised,omitempty"`

	// bfdState of the BFD session to the peer (RFC 5880, 4.1): AdminDown, Down, Init, Up; absent: no BFD.
	// +optional
	BFDState string `json:"bfdState,omitempty"`
}

// SpeakerStatus is what the speaker of one node says of itself.
type SpeakerStatus struct {
	// nodeAddresses of the node, as the speaker uses them.
	// +optional
	// +listType=atomic
	NodeAddresses []string `json:"nodeAddresses,omitempty"`

	// gossipAddress is where other speakers reach this one for membership, address and port.
	// +optional
	GossipAddress string `json:"gossipAddress,omitempty"`

	// version of the speaker.
	// +optional
	Version string `json:"version,omitempty"`

	// interfaces that the speaker can announce on.
	// +optional
	// +listType=map
	// +listMapKey=name
	Interfaces []SpeakerInterface `json:"interfaces,omitempty"`

	// layer2 are the addresses that this node answers for, in address order.
	// +optional
	// +listType=map
	// +listMapKey=ip
	Layer2 []Layer2Address `json:"layer2,omitempty"`

	// layer2Count is the number of addresses in layer2.
	// +optional
	Layer2Count int32 `json:"layer2Count"`

	// conflicts with other hosts on the network, those that keep an address from being announced first, then in address order.
	// With more than 100 the rest is left out; the condition AddressConflict counts all.
	// +optional
	// +listType=map
	// +listMapKey=ip
	// +kubebuilder:validation:MaxItems=100
	Conflicts []AddressConflict `json:"conflicts,omitempty"`

	// bgp are the node's BGP sessions.
	// +optional
	// +listType=map
	// +listMapKey=peer
	BGP []BGPSessionStatus `json:"bgp,omitempty"`

	// conditions: Ready, DataplaneReady, InterfacesReady, Settled, AddressConflict.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Speaker is the state of the speaker of one node. It has the node's name, is owned by the Node object and is written by the
// speaker alone. It has no spec.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=fairlead
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Dataplane",type=string,JSONPath=`.status.conditions[?(@.type=="DataplaneReady")].status`
// +kubebuilder:printcolumn:name="Gossip",type=string,JSONPath=`.status.gossipAddress`
// +kubebuilder:printcolumn:name="Layer2",type=integer,JSONPath=`.status.layer2Count`
// +kubebuilder:printcolumn:name="Interfaces",type=string,JSONPath=`.status.interfaces[*].name`
// +kubebuilder:printcolumn:name="Conflict",type=string,JSONPath=`.status.conditions[?(@.type=="AddressConflict")].status`,priority=1
// +kubebuilder:printcolumn:name="BGP",type=string,JSONPath=`.status.bgp[*].state`,priority=1
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.status.version`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Speaker struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// +optional
	Status SpeakerStatus `json:"status,omitzero"`
}

// SpeakerList is a list of speakers.
//
// +kubebuilder:object:root=true
type SpeakerList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []Speaker `json:"items"`
}
