package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// CommunityValue is a standard community "asn:value" (RFC 1997), a large community "large:a:b:c" (RFC 8092), a well-known name
// (no-export, no-advertise, local-as, nopeer, graceful-shutdown, blackhole, accept-own, llgr-stale, no-llgr), or an alias that a
// Community object defines.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9]+:[0-9]+$') ? self.split(':').all(n, n.size() <= 5 && int(n) <= 65535) : true",messageExpression="\"'\" + self + \"' is no standard community: asn and value are 0..65535 each; larger numbers need large:a:b:c\""
// +kubebuilder:validation:XValidation:rule="self.startsWith('large:') ? self.matches('^large:[0-9]{1,10}:[0-9]{1,10}:[0-9]{1,10}$') && self.substring(6).split(':').all(n, int(n) <= 4294967295) : true",messageExpression="\"'\" + self + \"' is no large community: large:a:b:c with numbers of 0..4294967295\""
// +kubebuilder:validation:XValidation:rule="self.contains(':') ? self.matches('^(large:)?[0-9:]+$') && (self.startsWith('large:') || self.matches('^[0-9]+:[0-9]+$')) : self.matches('^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$')",messageExpression="\"'\" + self + \"' is neither asn:value, large:a:b:c, a well-known name nor an alias\""
// +kubebuilder:validation:XValidation:rule="!self.startsWith('large:4294967295:')",messageExpression="\"'\" + self + \"' has the reserved AS number 4294967295 (RFC 7300): choose another one\""
type CommunityValue string

// BGPAdvertisementSpec says which addresses are advertised to which peers, and with which attributes.
type BGPAdvertisementSpec struct {
	AdvertisementSelection `json:",inline"`

	// peers names the BGPPeers to advertise to; empty: all.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=253
	Peers []string `json:"peers,omitempty"`

	// aggregationLength is the length of the IPv4 prefix that is advertised for an address.
	// +optional
	// +kubebuilder:default=32
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=32
	AggregationLength *int32 `json:"aggregationLength,omitempty"`

	// aggregationLengthV6 is the length of the IPv6 prefix that is advertised for an address.
	// +optional
	// +kubebuilder:default=128
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=128
	AggregationLengthV6 *int32 `json:"aggregationLengthV6,omitempty"`

	// localPref is the LOCAL_PREF attribute (RFC 4271, 5.1.5); it goes to internal peers only. Absent: the advertisement has no say in it.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	LocalPref *int64 `json:"localPref,omitempty"`

	// med is the MULTI_EXIT_DISC attribute (RFC 4271, 5.1.4). Absent: the advertisement has no say in it.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	MED *int64 `json:"med,omitempty"`

	// asPathPrepend is how many times more than needed our AS number stands in the AS_PATH; it counts for external peers only. 0: the
	// advertisement has no say in it.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10
	ASPathPrepend int32 `json:"asPathPrepend,omitempty"`

	// communities of the route. One that is unknown, or cannot be read, disables the advertisement.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	Communities []CommunityValue `json:"communities,omitempty"`
}

// BGPAdvertisement advertises addresses by BGP (RFC 4271). Several advertisements for one route and peer unite their
// communities; where they differ in another attribute the older object wins and the newer says so in its status.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=bgpadv,categories=fairlead
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Pools",type=string,JSONPath=`.spec.ipAddressPools`
// +kubebuilder:printcolumn:name="Peers",type=string,JSONPath=`.spec.peers`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].reason`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type BGPAdvertisement struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// +optional
	Spec BGPAdvertisementSpec `json:"spec,omitzero"`
	// +optional
	Status AdvertisementStatus `json:"status,omitzero"`
}

// BGPAdvertisementList is a list of BGP advertisements.
//
// +kubebuilder:object:root=true
type BGPAdvertisementList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []BGPAdvertisement `json:"items"`
}
