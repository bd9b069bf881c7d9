package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// AddressRange is a CIDR ("192.168.100.0/24"; host bits are allowed and stand for the whole prefix), a range
// ("192.168.100.240-192.168.100.249", both ends included) or a single address ("192.168.100.5", "fd00:100::5").
//
// The rule that compares the ends of an IPv6 range spells both out to 32 hexadecimal digits, which order as strings as the addresses do.
//
// +kubebuilder:validation:MinLength=2
// +kubebuilder:validation:MaxLength=96
// +kubebuilder:validation:XValidation:rule="isCIDR(self) || isIP(self) || (self.split('-').size() == 2 && self.split('-').all(a, isIP(a.trim())))",messageExpression="\"'\" + self + \"' is not an address, a CIDR (192.168.100.0/24) or a range (192.168.100.240-192.168.100.249)\""
// +kubebuilder:validation:XValidation:rule="self.split('-').size() != 2 || !self.split('-').all(a, isIP(a.trim())) || ip(self.split('-')[0].trim()).family() == ip(self.split('-')[1].trim()).family()",messageExpression="\"'\" + self + \"' mixes IPv4 and IPv6: both ends of a range must be of one family\""
// +kubebuilder:validation:XValidation:rule=`self.split('-').size() != 2 || !self.split('-').all(a, isIP(a.trim()) && ip(a.trim()).family() == 4) || [self.split('-').map(a, a.trim().split('.').map(o, '000'.substring(o.size()) + o).join(""))].all(e, e[0] <= e[1])`,messageExpression="\"'\" + self + \"' is reversed: the first address of a range must not be greater than the last\""
// +kubebuilder:validation:XValidation:rule=`self.split('-').size() != 2 || !self.split('-').all(a, isIP(a.trim()) && ip(a.trim()).family() == 6) || [self.split('-').map(a, string(ip(a.trim())).split('::').map(h, h == "" ? "" : h.split(':').map(g, '0000'.substring(g.size()) + g).join(""))).map(h, h.size() == 1 ? h[0] : h[0] + '00000000000000000000000000000000'.substring(h[0].size() + h[1].size()) + h[1])].all(e, e[0] <= e[1])`,messageExpression="\"'\" + self + \"' is reversed: the first address of a range must not be greater than the last\""
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
