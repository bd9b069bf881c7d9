package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// PoolInUseFinalizer keeps a pool until its last address is released.
const PoolInUseFinalizer = "fairlead.io/in-use"

// IPAddressPoolSpec says which addresses a pool has and who may get them.
type IPAddressPoolSpec struct {
	// addresses of the pool: CIDRs, ranges and single addresses, of both families as needed. They are given out in this order, lowest first.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=512
	Addresses []AddressRange `json:"addresses"`

	// excludeAddresses are never handed out, in the same syntax.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=512
	ExcludeAddresses []AddressRange `json:"excludeAddresses,omitempty"`

	// avoidBuggyIPs leaves out IPv4 addresses that end in .0 or .255, which some old devices do not reach.
	// +optional
	AvoidBuggyIPs bool `json:"avoidBuggyIPs,omitempty"`

	// autoAssign false gives addresses only to Services that ask for this pool or for one of its addresses.
	// +optional
	// +kubebuilder:default=true
	AutoAssign *bool `json:"autoAssign,omitempty"`

	// disabled stops new allocations. Addresses in use stay with their Services.
	// +optional
	Disabled bool `json:"disabled,omitempty"`

	// allowCrossNamespaceSharing lets Services of different namespaces share an address of this pool.
	// +optional
	AllowCrossNamespaceSharing bool `json:"allowCrossNamespaceSharing,omitempty"`

	// serviceAllocation limits the pool to some Services, and orders it among the pools that a Service may use.
	// +optional
	ServiceAllocation *ServiceAllocation `json:"serviceAllocation,omitempty"`
}

// ServiceAllocation says which Services a pool is for: those of the namespaces (by name or by selector; both empty: all
// namespaces) whose labels match a service selector (empty: all Services).
type ServiceAllocation struct {
	// priority among the pools that are for a Service: lower is tried first; 0 or absent is last.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	Priority int32 `json:"priority,omitempty"`

	// namespaces by name.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=512
	// +kubebuilder:validation:items:MaxLength=63
	Namespaces []string `json:"namespaces,omitempty"`

	// namespaceSelectors select namespaces by their labels.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	NamespaceSelectors []metav1.LabelSelector `json:"namespaceSelectors,omitempty"`

	// serviceSelectors select Services by their labels.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	ServiceSelectors []metav1.LabelSelector `json:"serviceSelectors,omitempty"`
}

// AddressCounts are numbers of addresses of one family; numbers beyond int64 are given as the greatest int64.
type AddressCounts struct {
	// assigned addresses. An address that is shared counts once.
	// +kubebuilder:validation:Minimum=0
	Assigned int64 `json:"assigned"`

	// available addresses: free and not excluded.
	// +kubebuilder:validation:Minimum=0
	Available int64 `json:"available"`

	// outside is the number of assigned addresses that the spec no longer covers. Their Services keep them until they give them up.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Outside int64 `json:"outside,omitempty"`
}

// IPAddressPoolStatus is what the controller says of a pool.
type IPAddressPoolStatus struct {
	// observedGeneration is the generation that the rest of the status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// ipv4 counts the pool's IPv4 addresses.
	// +optional
	IPv4 AddressCounts `json:"ipv4,omitzero"`

	// ipv6 counts the pool's IPv6 addresses.
	// +optional
	IPv6 AddressCounts `json:"ipv6,omitzero"`

	// conditions: Ready.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// IPAddressPool is a set of addresses that Services of type LoadBalancer are given.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=ippool,categories=fairlead
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Auto",type=boolean,JSONPath=`.spec.autoAssign`
// +kubebuilder:printcolumn:name="IPv4 used",type=integer,JSONPath=`.status.ipv4.assigned`
// +kubebuilder:printcolumn:name="IPv4 free",type=integer,JSONPath=`.status.ipv4.available`
// +kubebuilder:printcolumn:name="IPv6 used",type=integer,JSONPath=`.status.ipv6.assigned`
// +kubebuilder:printcolumn:name="IPv6 free",type=integer,JSONPath=`.status.ipv6.available`
// +kubebuilder:printcolumn:name="IPv4 outside",type=integer,JSONPath=`.status.ipv4.outside`,priority=1
// +kubebuilder:printcolumn:name="IPv6 outside",type=integer,JSONPath=`.status.ipv6.outside`,priority=1
// +kubebuilder:printcolumn:name="Addresses",type=string,JSONPath=`.spec.addresses`,priority=1
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type IPAddressPool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// +required
	Spec IPAddressPoolSpec `json:"spec"`
	// +optional
	Status IPAddressPoolStatus `json:"status,omitzero"`
}

// IPAddressPoolList is a list of pools.
//
// +kubebuilder:object:root=true
type IPAddressPoolList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []IPAddressPool `json:"items"`
}
