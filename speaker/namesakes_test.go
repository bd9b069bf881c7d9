package speaker

import (
	"context"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
)

// Two speakers that were given one node's name write one object. They must not do so as fast as they can, for ever.
func TestNamesakesDoNotFloodTheAPIServer(t *testing.T) {
	k := newCluster(t)
	k.node("node1")
	first := k.speaker("node1")
	second := k.speaker("node1")
	var s v1beta1.Speaker
	k.eventually("both have read the cluster's state", func() bool {
		return first.synced.Load() && second.synced.Load() && k.Get(context.Background(), client.ObjectKey{Name: "node1"}, &s) == nil
	})
	versions := map[string]bool{}
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	const forSoLong = 10 * time.Second
	for end := time.Now().Add(forSoLong); time.Now().Before(end); <-look.C {
		if err := k.Get(context.Background(), client.ObjectKey{Name: "node1"}, &s); err != nil {
			t.Fatal(err)
		}
		versions[s.ResourceVersion] = true
	}
	// Unbounded it is some four a second of each.
	if len(versions) < 3 || len(versions) > 25 {
		t.Errorf("the object was written %d times in %s", len(versions), forSoLong)
	}
	t.Logf("written %d times in %s", len(versions), forSoLong)
}
