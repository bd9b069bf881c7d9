package kubespray

import (
	"encoding/json"
	"testing"

	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestAccepted has a real API server take every object that any set of variables means: BGPPeers too, which API servers of version 1.36 on
// refuse from the addon. What several sets mean is tried once.
func TestAccepted(t *testing.T) {
	t.Parallel()
	c := apiServer(t)
	tried := map[string]bool{}
	for name, r := range plan(t) {
		for _, o := range append(r.manifests, r.Objects...) {
			o := o.DeepCopy()
			if o.GetNamespace() != "" { // its own is there in no dry run
				o.SetNamespace("default")
			}
			text, err := json.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			if tried[string(text)] {
				continue
			}
			tried[string(text)] = true
			// TestRole may have made the object, or makes it just now: it is tried as if nobody had set anything.
			err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
				return c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(o), client.DryRunAll, client.FieldOwner("test"), client.ForceOwnership)
			})
			if err != nil {
				t.Errorf("%s: %s %s: %v", name, o.GetKind(), o.GetName(), err)
			}
		}
	}
}
