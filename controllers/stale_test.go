package controllers

import (
	"errors"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"fairlead.io/fairlead/api/v1beta1"
)

// What has changed or gone since it was read is left to the next event; a status that the API server refuses is an error that must be seen.
func TestIgnoreStale(t *testing.T) {
	resource := v1beta1.GroupVersion.WithResource("ipaddresspools").GroupResource()
	kind := v1beta1.GroupVersion.WithKind("IPAddressPool").GroupKind()
	for _, tc := range []struct {
		err     error
		ignored bool
	}{
		{apierrors.NewConflict(resource, "web", nil), true},
		{apierrors.NewNotFound(resource, "web"), true},
		{apierrors.NewInvalid(kind, "web", nil), false},
		{apierrors.NewInternalError(errors.New("x")), false},
	} {
		if result, err := ignoreStale(tc.err, "write"); (err == nil) != tc.ignored || (result.RequeueAfter > 0) != tc.ignored {
			t.Errorf("%v gives %+v, %v", tc.err, result, err)
		}
	}
}
