// Package v1beta1 is Fairlead's API: the kinds of group fairlead.io, the annotations that Services may carry,
// and every condition type and reason that Fairlead writes.
//
// All kinds are cluster-scoped. Rules on one object are CEL rules in its CRD, checked by the API server;
// rules across objects are conditions in the status of the object that cannot be honoured.
//
// +kubebuilder:object:generate=true
// +groupName=fairlead.io
package v1beta1
