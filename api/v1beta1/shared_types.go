package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// AddressRange is a CIDR ("192.168.100.0/24"; host bits are allowed and stand for the whole prefix), a range
// ("192.168.100.240-192.168.100.249", both ends included) or a single address ("192.168.100.5", "fd00:100::5").
//
// The rules take lists apart by index and not by macros over them: the API server estimates the cost of a macro by the longest
// list that there could be, and refuses the CRD. For the same reason no rule compares the ends of an IPv6 range: CEL has no order of
// addresses, and what it would take is beyond that estimate. A reversed IPv6 range is refused by the controller, in the pool's status.
//
// +kubebuilder:validation:MinLength=2
// +kubebuilder:validation:MaxLength=83
// +kubebuilder:validation:XValidation:rule="isCIDR(self) || isIP(self) || (self.split('-').size() == 2 && isIP(self.split('-')[0].trim()) && isIP(self.split('-')[1].trim()))",messageExpression="\"'\" + self + \"' is not an address, a CIDR (192.168.100.0/24) or a range (192.168.100.240-192.168.100.249)\""
// +kubebuilder:validation:XValidation:rule="self.split('-').size() != 2 || !isIP(self.split('-')[0].trim()) || !isIP(self.split('-')[1].trim()) || ip(self.split('-')[0].trim()).family() == ip(self.split('-')[1].trim()).family()",messageExpression="\"'\" + self + \"' mixes IPv4 and IPv6: both ends of a range must be of one family\""
// +kubebuilder:validation:XValidation:rule="self.split('-').size() != 2 || !isIP(self.split('-')[0].trim()) || !isIP(self.split('-')[1].trim()) || ip(self.split('-')[0].trim()).family() != 4 || ip(self.split('-')[1].trim()).family() != 4 || [[self.split('-')[0].trim().split('.'), self.split('-')[1].trim().split('.')].map(p, ((int(p[0]) * 256 + int(p[1])) * 256 + int(p[2])) * 256 + int(p[3]))].all(n, n[0] <= n[1])",messageExpression="\"'\" + self + \"' is reversed: the first address of a range must not be greater than the last\""
type AddressRange string

// AdvertisementSelection says which addresses, Services and nodes an advertisement is for. An empty list selects all; the
// entries of one list are alternatives, the lists are conditions that must all hold.
type AdvertisementSelection struct {
	// ipAddressPools names the pools whose addresses are advertised. Together with ipAddressPoolSelectors: a pool that either selects.
	// Both empty: all pools.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=512
	// +kubebuilder:validation:items:MaxLength=253
	IPAddressPools []string `json:"ipAddressPools,omitempty"`

	// ipAddressPoolSelectors select pools by their labels.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	IPAddressPoolSelectors []metav1.LabelSelector `json:"ipAddressPoolSelectors,omitempty"`

	// serviceSelectors select Services by their labels; empty: all.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	ServiceSelectors []metav1.LabelSelector `json:"serviceSelectors,omitempty"`

	// nodeSelectors select the nodes that may announce, by their labels; empty: all.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	NodeSelectors []metav1.LabelSelector `json:"nodeSelectors,omitempty"`
}

// AdvertisementStatus is the status of an advertisement, a profile or a list of communities.
type AdvertisementStatus struct {
	// observedGeneration is the generation that the conditions speak of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions: Accepted.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
