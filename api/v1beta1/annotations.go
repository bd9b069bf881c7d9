package v1beta1

// DefaultLoadBalancerClass is the spec.loadBalancerClass that Fairlead serves unless --load-balancer-class names another.
const DefaultLoadBalancerClass = "fairlead.io/fairlead"

// Annotations that a Service's owner may set to ask for something. Each has aliases from MetalLB with the same meaning;
// where both are present ours wins.
const (
	// AnnotationAddressPool names the pool that the Service's addresses must come from.
	AnnotationAddressPool = "fairlead.io/address-pool"
	// AnnotationLoadBalancerIPs lists the addresses that the Service asks for, separated by commas, at most one per family.
	AnnotationLoadBalancerIPs = "fairlead.io/load-balancer-ips"
	// AnnotationAllowSharedIP is the sharing key: Services with the same key may share an address when their ports do not collide.
	AnnotationAllowSharedIP = "fairlead.io/allow-shared-ip"
)

// AnnotationAllocatedFromPool is written by Fairlead on a Service that has addresses: the pool they were taken from;
// two names, separated by a comma and in the order of the addresses, when the two families come from two pools.
const AnnotationAllocatedFromPool = "fairlead.io/ip-allocated-from-pool"

// AddressPoolAliases are the aliases of AnnotationAddressPool, in the order in which they are looked for.
func AddressPoolAliases() []string {
	return []string{"metallb.io/address-pool", "metallb.universe.tf/address-pool"}
}

// LoadBalancerIPsAliases are the aliases of AnnotationLoadBalancerIPs.
func LoadBalancerIPsAliases() []string {
	return []string{"metallb.io/loadBalancerIPs", "metallb.universe.tf/loadBalancerIPs"}
}

// AllowSharedIPAliases are the aliases of AnnotationAllowSharedIP.
func AllowSharedIPAliases() []string {
	return []string{"metallb.io/allow-shared-ip", "metallb.universe.tf/allow-shared-ip"}
}
