package ipam

import (
	"fmt"
	"net/netip"
	"slices"
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

// Decision is what a Service gets, and why. Texts are made when they are asked for: most decisions are never read.
type Decision struct {
	// Addresses that the Service has from now on, in the order of the families.
	Addresses []Assigned
	// Satisfied: the Service has every address that it asks for, or as many as its policy insists on.
	Satisfied bool
	// Complete: nothing is left to wait for.
	Complete bool
	// Reason is for programs; Message says the same to the Service's owner.
	Reason Reason
	// Lost are addresses that the Service holds and cannot go on holding, because of others who share them.
	Lost []Lost
	// Considered is every pool that was looked at, in the order of choice, with what came of it. Only Decide says it of a Service that gets
	// all that it asks for.
	Considered []Considered

	missing string // what the Service does not get, and why
	waits   []waitKey
	brief   bool
}

// Message is a sentence for the Service's owner: what it has, or what is missing and what would help.
func (d Decision) Message() string {
	switch d.Reason {
	case ReasonAssigned:
		return assignedText(d.Addresses)
	case ReasonAssignedPartially:
		return assignedText(d.Addresses) + "; " + d.missing
	default:
		return d.missing
	}
}

// equal reports whether two decisions say and give the same.
func (d *Decision) equal(o *Decision) bool {
	return d.Reason == o.Reason && d.missing == o.missing && slices.Equal(d.Addresses, o.Addresses)
}

// Lost is an address that a Service must leave. Why is a sentence.
type Lost struct {
	Addr netip.Addr
	Why  string
}

// Considered is a pool that was looked at for one family.
type Considered struct {
	Pool   string
	Family Family
	// Used: the address comes from this pool.
	Used   bool
	Reason Reason

	how  how
	addr netip.Addr
	text string
}

// how an address of a pool came to be used.
type how uint8

const (
	howNot    how = iota // it was not; text says why
	howHeld              // the Service has it
	howAsked             // the Service asks for it
	howShared            // it is shared under the key text
	howLowest            // it is the lowest free one
)

// Message says why the pool was or was not used, in a sentence.
func (c Considered) Message() string {
	switch c.how {
	case howHeld:
		return fmt.Sprintf("the Service has %s already", c.addr)
	case howAsked:
		return fmt.Sprintf("it has %s, which the Service asks for", c.addr)
	case howShared:
		return fmt.Sprintf("%s is shared under the key %q", c.addr, c.text)
	case howLowest:
		return fmt.Sprintf("%s is its lowest free %s address", c.addr, c.Family)
	default:
		return c.text
	}
}

func used(x Assigned, f Family, how how, text string) Considered {
	return Considered{Pool: x.Pool, Family: f, Used: true, Reason: ReasonAssigned, how: how, addr: x.Addr, text: text}
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
