package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// AddressFamily is a family of unicast routes (AFI with SAFI 1, RFC 4760).
//
// +kubebuilder:validation:Enum=ipv4;ipv6
type AddressFamily string

// The address families.
const (
	AddressFamilyIPv4 AddressFamily = "ipv4"
	AddressFamilyIPv6 AddressFamily = "ipv6"
)

// DynamicASN says how a peer's AS number relates to ours when it is learned from the peer's OPEN.
//
// +kubebuilder:validation:Enum=internal;external
type DynamicASN string

// The values of DynamicASN.
const (
	DynamicASNInternal DynamicASN = "internal"
	DynamicASNExternal DynamicASN = "external"
)

// BGPPeerSpec describes a router and the session that each selected node keeps with it.
//
// +kubebuilder:validation:XValidation:rule="has(self.peerASN) != has(self.dynamicASN)",message="set exactly one of peerASN and dynamicASN"
// +kubebuilder:validation:XValidation:rule="has(self.peerAddress) != has(self.interface)",message="set exactly one of peerAddress and interface"
// +kubebuilder:validation:XValidation:rule="!has(self.keepaliveTime) || duration(self.keepaliveTime) <= duration(has(self.holdTime) ? self.holdTime : '90s')",message="keepaliveTime must not exceed holdTime"
// +kubebuilder:validation:XValidation:rule="!(has(self.ttlSecurity) && self.ttlSecurity && has(self.ebgpMultiHop) && self.ebgpMultiHop)",message="ttlSecurity (RFC 5082) needs a directly connected peer: it cannot go with ebgpMultiHop"
// +kubebuilder:validation:XValidation:rule="!(has(self.interface) && has(self.sourceAddress))",message="sourceAddress has no meaning with interface: an unnumbered session uses the link-local address"
// +kubebuilder:validation:XValidation:rule="!has(self.sourceAddress) || !has(self.peerAddress) || !isIP(self.sourceAddress) || !isIP(self.peerAddress) || ip(self.sourceAddress).family() == ip(self.peerAddress).family()",message="sourceAddress and peerAddress must be of one family: the session runs between them"
// +kubebuilder:validation:XValidation:rule="!(has(self.ebgpMultiHop) && self.ebgpMultiHop) || (has(self.dynamicASN) ? self.dynamicASN != 'internal' : !has(self.peerASN) || self.peerASN != self.myASN)",message="ebgpMultiHop is for external peers: sessions within one AS may cross several hops without it"
// +kubebuilder:validation:XValidation:rule="!(has(self.ebgpMultiHop) && self.ebgpMultiHop && has(self.interface))",message="ebgpMultiHop cannot go with interface: an unnumbered peer is on the link itself"
// +kubebuilder:validation:XValidation:rule="!(has(self.bfdProfile) && size(self.bfdProfile) > 0 && has(self.gracefulRestart) && self.gracefulRestart.enabled)",message="bfdProfile and gracefulRestart contradict each other: BFD drops a session that graceful restart is to keep; choose one"
type BGPPeerSpec struct {
	// myASN is our AS number.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=4294967295
	MyASN int64 `json:"myASN"`

	// peerASN is the peer's AS number.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=4294967295
	PeerASN *int64 `json:"peerASN,omitempty"`

	// dynamicASN takes the peer's AS number from its OPEN: internal requires ours, external any other.
	// +optional
	DynamicASN *DynamicASN `json:"dynamicASN,omitempty"`

	// peerAddress is the peer's address. A link-local one does not say on which link it is: use interface.
	// +optional
	// +kubebuilder:validation:MaxLength=45
	// +kubebuilder:validation:XValidation:rule="isIP(self)",messageExpression="\"'\" + self + \"' is not an IP address\""
	// +kubebuilder:validation:XValidation:rule="!isIP(self) || ip(self).isGlobalUnicast() || ip(self).isLoopback()",messageExpression="\"'\" + self + \"' is not the address of a router; for a link-local one set interface instead\""
	PeerAddress string `json:"peerAddress,omitempty"`

	// interface is the name of the interface on whose other end the peer is (unnumbered); its link-local address is found there.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:Pattern=`^[^/\s]+$`
	Interface string `json:"interface,omitempty"`

	// peerPort is the TCP port of the peer.
	// +optional
	// +kubebuilder:default=179
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	PeerPort int32 `json:"peerPort,omitempty"`

	// sourceAddress is the local address of the session, of the family of peerAddress. The nodes that nodeSelectors select must have it.
	// +optional
	// +kubebuilder:validation:MaxLength=45
	// +kubebuilder:validation:XValidation:rule="isIP(self)",messageExpression="\"'\" + self + \"' is not an IP address\""
	// +kubebuilder:validation:XValidation:rule="!isIP(self) || ip(self).isGlobalUnicast() || ip(self).isLoopback()",messageExpression="\"'\" + self + \"' is not an address that a session can have\""
	SourceAddress string `json:"sourceAddress,omitempty"`

	// routerID is our BGP identifier, in IPv4 form, not 0.0.0.0 (RFC 6286); absent: that of the node's other peers, or else the node's
	// IPv4 address. A node has one: of two peers of a node that differ the older wins, and the newer has no session there.
	// +optional
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:XValidation:rule="isIP(self) && ip(self).family() == 4 && !ip(self).isUnspecified()",messageExpression="\"'\" + self + \"' is not an IPv4 address\""
	RouterID string `json:"routerID,omitempty"`

	// holdTime that we propose (RFC 4271, 4.2): at least 3s, whole seconds.
	// +optional
	// +kubebuilder:default="90s"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('3s') && duration(self) <= duration('65535s')",message="holdTime must be 3s to 65535s"
	// +kubebuilder:validation:XValidation:rule="timestamp(duration(self).getSeconds()) - timestamp(0) == duration(self)",message="holdTime must be whole seconds"
	HoldTime *metav1.Duration `json:"holdTime,omitempty"`

	// keepaliveTime between KEEPALIVE messages, whole seconds; absent: a third of the hold time. More than a third of the hold time that both
	// ends agree on counts as that third.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('21845s')",message="keepaliveTime must be 1s to 21845s"
	// +kubebuilder:validation:XValidation:rule="timestamp(duration(self).getSeconds()) - timestamp(0) == duration(self)",message="keepaliveTime must be whole seconds"
	KeepaliveTime *metav1.Duration `json:"keepaliveTime,omitempty"`

	// connectTime is the pause between attempts to connect, whole seconds.
	// +optional
	// +kubebuilder:default="5s"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('65535s')",message="connectTime must be 1s to 65535s"
	// +kubebuilder:validation:XValidation:rule="timestamp(duration(self).getSeconds()) - timestamp(0) == duration(self)",message="connectTime must be whole seconds"
	ConnectTime *metav1.Duration `json:"connectTime,omitempty"`

	// nodeSelectors select the nodes that keep this session; empty: all.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	NodeSelectors []metav1.LabelSelector `json:"nodeSelectors,omitempty"`

	// passwordSecretRef names the key of a Secret in Fairlead's namespace that holds the TCP MD5 password (RFC 2385).
	// +optional
	PasswordSecretRef *SecretKeyReference `json:"passwordSecretRef,omitempty"`

	// ebgpMultiHop lets an external peer be several hops away. Internal peers may be so without it.
	// +optional
	EBGPMultiHop bool `json:"ebgpMultiHop,omitempty"`

	// ttlSecurity accepts only packets that came from the link itself (GTSM, RFC 5082).
	// +optional
	TTLSecurity bool `json:"ttlSecurity,omitempty"`

	// bfdProfile names the BFDProfile of the BFD session to this peer; absent: no BFD. It cannot go with gracefulRestart.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	BFDProfile string `json:"bfdProfile,omitempty"`

	// gracefulRestart keeps the peer forwarding while a speaker restarts (RFC 4724).
	// +optional
	GracefulRestart *GracefulRestart `json:"gracefulRestart,omitempty"`

	// addressFamilies of the session; absent: both unicast families.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	AddressFamilies []AddressFamily `json:"addressFamilies,omitempty"`

	// maintenance drains this peer by graceful shutdown (RFC 8326); the session stays.
	// +optional
	Maintenance bool `json:"maintenance,omitempty"`
}

// SecretKeyReference names one key of a Secret in Fairlead's namespace.
type SecretKeyReference struct {
	// name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// key in the Secret.
	// +optional
	// +kubebuilder:default=password
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key,omitempty"`
}

// GracefulRestart configures RFC 4724.
type GracefulRestart struct {
	// enabled announces the capability and lets a stopping speaker go without NOTIFICATION.
	// +required
	Enabled bool `json:"enabled"`

	// restartTime is how long the peer keeps our routes while we restart, whole seconds, at most 4095s.
	// +optional
	// +kubebuilder:default="120s"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('4095s')",message="restartTime must be 1s to 4095s"
	// +kubebuilder:validation:XValidation:rule="timestamp(duration(self).getSeconds()) - timestamp(0) == duration(self)",message="restartTime must be whole seconds"
	RestartTime *metav1.Duration `json:"restartTime,omitempty"`
}

// BGPPeerStatus is what the controller gathers from the speakers.
type BGPPeerStatus struct {
	// observedGeneration is the generation that the rest of the status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// wanted is the number of nodes that should keep a session.
	// +optional
	Wanted int32 `json:"wanted,omitempty"`

	// established is the number of nodes whose session is established.
	// +optional
	Established int32 `json:"established,omitempty"`

	// conditions: Accepted, Established.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// BGPPeer is a router that nodes keep a BGP session with.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=fairlead
// +kubebuilder:printcolumn:name="Address",type=string,JSONPath=`.spec.peerAddress`
// +kubebuilder:printcolumn:name="ASN",type=integer,JSONPath=`.spec.peerASN`
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Established",type=string,JSONPath=`.status.conditions[?(@.type=="Established")].message`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].reason`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type BGPPeer struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// +required
	Spec BGPPeerSpec `json:"spec"`
	// +optional
	Status BGPPeerStatus `json:"status,omitzero"`
}

// BGPPeerList is a list of peers.
//
// +kubebuilder:object:root=true
type BGPPeerList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []BGPPeer `json:"items"`
}
