package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// AddressRange is a CIDR ("192.168.100.0/24"; host bits are allowed and stand for the whole prefix), a range
// ("192.168.100.240-192.168.100.249", both ends included, spaces around the dash allowed) or a single address ("192.168.100.5", "fd00:100::5").
//
// CEL cannot order addresses. The last rule finds how many leading bits the two ends have in common, by asking if the network of
// the first end with a given prefix length contains the last end: first for each sixteenth length, then for the sixteen that
// follow. At the bit after those the first end must have a 0. It makes do with substring, and binds nothing but numbers, because the
// API server assumes the worst for the size of what split and string return, and refuses rules whose cost it cannot bound.
//
// +kubebuilder:validation:MinLength=2
// +kubebuilder:validation:MaxLength=83
// +kubebuilder:validation:XValidation:rule="isCIDR(self) || isIP(self) || (self.contains('-') && isIP(self.substring(0, self.indexOf('-')).trim()) && isIP(self.substring(self.indexOf('-') + 1).trim()))",messageExpression="\"'\" + self + \"' is not an address, a CIDR (192.168.100.0/24) or a range (192.168.100.240-192.168.100.249)\""
// +kubebuilder:validation:XValidation:rule="!self.contains('-') || self.contains('.') != self.contains(':')",messageExpression="\"'\" + self + \"' mixes IPv4 and IPv6: both ends of a range must be of one family\""
// +kubebuilder:validation:XValidation:rule="!self.contains('-') || self.contains('.') == self.contains(':') || !isIP(self.substring(0, self.indexOf('-')).trim()) || !isIP(self.substring(self.indexOf('-') + 1).trim()) || [[16, 32, 48, 64, 80, 96, 112].filter(p, (p <= 32 || self.contains(':')) && cidr(self.substring(0, self.indexOf('-')).trim() + '/' + '   1 2 3 4 5 6 7 8 9101112'.substring(p / 10 * 2, p / 10 * 2 + 2).trim() + '0123456789'.substring(p % 10, p % 10 + 1)).containsIP(ip(self.substring(self.indexOf('-') + 1).trim()))).size() * 16].all(h, [h + [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16].filter(p, ((h + p) <= 32 || self.contains(':')) && cidr(self.substring(0, self.indexOf('-')).trim() + '/' + '   1 2 3 4 5 6 7 8 9101112'.substring((h + p) / 10 * 2, (h + p) / 10 * 2 + 2).trim() + '0123456789'.substring((h + p) % 10, (h + p) % 10 + 1)).containsIP(ip(self.substring(self.indexOf('-') + 1).trim()))).size()].all(l, l == (self.contains(':') ? 128 : 32) || cidr(self.substring(0, self.indexOf('-')).trim() + '/' + '   1 2 3 4 5 6 7 8 9101112'.substring((l + 1) / 10 * 2, (l + 1) / 10 * 2 + 2).trim() + '0123456789'.substring((l + 1) % 10, (l + 1) % 10 + 1)).masked().ip() == cidr(self.substring(0, self.indexOf('-')).trim() + '/' + '   1 2 3 4 5 6 7 8 9101112'.substring(l / 10 * 2, l / 10 * 2 + 2).trim() + '0123456789'.substring(l % 10, l % 10 + 1)).masked().ip()))",messageExpression="\"'\" + self + \"' is reversed: the first address of a range must not be greater than the last\""
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
