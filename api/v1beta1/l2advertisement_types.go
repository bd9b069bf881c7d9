package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// L2AdvertisementSpec says which addresses are announced by ARP and NDP, from which nodes and interfaces.
type L2AdvertisementSpec struct {
	AdvertisementSelection `json:",inline"`

	// interfaces are the names or glob patterns (*, ?, [a-z]) of the interfaces to announce on; empty: every usable interface.
	// A node without such an interface is no candidate.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	Interfaces []string `json:"interfaces,omitempty"`

	// preferredNodeSelectors add their weight to the nodes that they select; among the candidates the greatest sum wins.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	PreferredNodeSelectors []PreferredNodeSelector `json:"preferredNodeSelectors,omitempty"`
}

// PreferredNodeSelector gives weight to the nodes whose labels match.
type PreferredNodeSelector struct {
	// weight is added for each node that the preference selects, 1 to 100.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	Weight int32 `json:"weight"`

	// preference selects nodes by their labels.
	// +required
	Preference metav1.LabelSelector `json:"preference"`
}

// L2Advertisement announces addresses on the local network by ARP (RFC 826) and NDP (RFC 4861).
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=l2adv,categories=fairlead
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Pools",type=string,JSONPath=`.spec.ipAddressPools`
// +kubebuilder:printcolumn:name="Interfaces",type=string,JSONPath=`.spec.interfaces`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].reason`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type L2Advertisement struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// +optional
	Spec L2AdvertisementSpec `json:"spec,omitzero"`
	// +optional
	Status AdvertisementStatus `json:"status,omitzero"`
}

// L2AdvertisementList is a list of layer-2 advertisements.
//
// +kubebuilder:object:root=true
type L2AdvertisementList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []L2Advertisement `json:"items"`
}
