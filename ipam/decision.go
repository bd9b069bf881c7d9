package ipam

import (
	"net/netip"
	"strconv"
)

// Reason of a decision, as conditions of Services carry it. The values are those of the API.
type Reason string

// Reasons for a Service's condition AddressAssigned.
const (
	ReasonAssigned          Reason = "Assigned"
	ReasonAssignedPartially Reason = "AssignedPartially"
	ReasonNoPool            Reason = "NoPool"
	ReasonPoolExhausted     Reason = "PoolExhausted"
	ReasonUnknownPool       Reason = "UnknownPool"
	ReasonPoolNotAllowed    Reason = "PoolNotAllowed"
	ReasonPoolDisabled      Reason = "PoolDisabled"
	ReasonAddressNotInPool  Reason = "AddressNotInPool"
	ReasonAddressInUse      Reason = "AddressInUse"
	ReasonAddressExcluded   Reason = "AddressExcluded"
	ReasonInvalidRequest    Reason = "InvalidRequest"
	ReasonNoClusterIP       Reason = "NoClusterIP"
)

// Assigned is an address that a Service has.
type Assigned struct {
	Addr netip.Addr
	// Pool that the address is attributed to; empty: none has it.
	Pool string
}

// Decision is what a Service gets, and why.
type Decision struct {
	// Addresses that the Service has from now on, in the order of the families.
	Addresses []Assigned
	// Satisfied: the Service has every address that it asks for, or as many as its policy insists on.
	Satisfied bool
	// Complete: nothing is left to wait for.
	Complete bool
	// Reason and Message are for the Service's owner.
	Reason  Reason
	Message string
	// Considered is every pool that was looked at, in order, with what came of it.
	Considered []Considered

	waits []waitKey
}

// Considered is a pool that was looked at for one family.
type Considered struct {
	Pool   string
	Family Family
	// Used: the address comes from this pool. Otherwise Reason and Message say why not.
	Used    bool
	Reason  Reason
	Message string
}

func (p Port) String() string { return p.Protocol + " " + strconv.Itoa(int(p.Port)) }

// waitKey names something whose change can help a Service that waits. Exactly one of its fields but the family is set.
type waitKey struct {
	// addr: somebody leaves the address, or changes how they share it.
	addr netip.Addr
	// pool and family: an address of the pool becomes free.
	pool   string
	family Family
	// share: a Service with this sharing key gets an address, or changes how it shares one.
	share string
	// namespace: its labels change.
	namespace string
}

func namespaceKey(namespace string) waitKey { return waitKey{namespace: namespace} }
