package speaker

import (
	"context"
	"testing"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
)

// The news that the object was deleted may come while it is being compared: it is made anew nonetheless.
func TestSpeakerDeletedDuringAWrite(t *testing.T) {
	k := newCluster(t)
	n := k.node("node1")
	ctx := context.Background()
	object := &v1beta1.Speaker{ObjectMeta: metav1.ObjectMeta{Name: "node1"}}
	t.Cleanup(func() {
		if err := client.IgnoreNotFound(k.Delete(ctx, object)); err != nil {
			t.Error(err)
		}
	})
	meanwhile := func() {}
	w := newStatusWriter(k.Client, k.Client, "node1", func() types.UID { return n.UID }, func() report {
		meanwhile()
		return report{version: "v1", dataplane: health{Ready: true, Reason: v1beta1.ReasonNoProxyHealth}}
	}, logr.Discard())
	write := func() {
		t.Helper()
		if err := w.write(ctx); err != nil {
			t.Fatal(err)
		}
	}
	write()
	meanwhile = func() {
		meanwhile = func() {}
		if err := k.Delete(ctx, object.DeepCopy()); err != nil {
			t.Fatal(err)
		}
		w.observe(nil)
	}
	write()
	write()
	var got v1beta1.Speaker
	if err := k.Get(ctx, client.ObjectKeyFromObject(object), &got); apierrors.IsNotFound(err) || got.Status.Version != "v1" {
		t.Errorf("after it was deleted the Speaker is %+v: %v", got.Status, err)
	}
}

// The last words of a stopping speaker must not be followed by what was to be said before.
func TestStatusWritesDoNotOvertake(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	w := newStatusWriter(nil, nil, "node1", nil, func() report {
		close(entered)
		<-release
		return report{}
	}, logr.Discard())
	w.base = &v1beta1.Speaker{}
	fill(&w.base.Status, report{})
	first := make(chan error, 1)
	go func() { first <- w.write(context.Background()) }()
	<-entered
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := w.write(ctx); err == nil {
		t.Error("two writes at a time")
	}
	close(release)
	if err := <-first; err != nil {
		t.Error(err)
	}
}
