package speaker

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	// Where they are slow to begin they have longer, and more than that they may not write in that time either.
	for began := time.Now(); time.Since(began) < forSoLong || len(versions) < 3 && time.Since(began) < patience; <-look.C {
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

// News of an own write that comes late is nobody's edit. Edits that follow each other fast are undone ever less often, and others at once.
func TestEditsOfTheSpeakerObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStatusWriter(nil, nil, "node1", nil, nil, logr.Discard())
		version := func(v int) *v1beta1.Speaker {
			return &v1beta1.Speaker{ObjectMeta: metav1.ObjectMeta{ResourceVersion: strconv.Itoa(v)}}
		}
		w.base, w.written = version(5), [8]string{"5", "4"}
		if w.observe(version(4)); w.base.ResourceVersion != "5" || w.edits != 0 || len(w.kick) != 0 {
			t.Errorf("after late news of version 4 it is at %s, with %d edits", w.base.ResourceVersion, w.edits)
		}
		last := w.wait()
		for v := range 20 {
			w.observe(version(6 + v))
			if now := w.wait(); now < last || now > mostPause || v < toleratedEdits && now != w.pause {
				t.Errorf("after %d edits it waits %s, and %s before", v+1, now, last)
			}
			last = w.wait()
		}
		if last != mostPause || w.base.ResourceVersion != "25" {
			t.Errorf("in the end it waits %s", last)
		}
		time.Sleep(editsApart + 1)
		if got := w.wait(); got != w.pause {
			t.Errorf("a minute later it waits %s", got)
		}
		if w.observe(version(26)); w.wait() != w.pause {
			t.Errorf("after one edit it waits %s", w.wait())
		}
	})
}

// hasty is an API server whose news of a write come before its answer.
type hasty struct {
	client.Client
	statuses statuses
}

type statuses struct {
	client.SubResourceWriter
	news func(*v1beta1.Speaker)
	// versions that the next write makes, the last one by itself.
	versions []string
}

func (h *hasty) Status() client.SubResourceWriter { return &h.statuses }

func (h *statuses) Patch(_ context.Context, o client.Object, _ client.Patch, _ ...client.SubResourcePatchOption) error {
	s, ok := o.(*v1beta1.Speaker)
	if !ok {
		return fmt.Errorf("a patch of a %T", o)
	}
	for _, v := range h.versions {
		s.ResourceVersion = v
		h.news(s.DeepCopy())
	}
	return nil
}

// News of an own write that come before its answer are nobody's edit. Somebody else's edit during a write is one, and as it may have come after, the object
// is read anew.
func TestNewsOfAWriteBeforeItsAnswer(t *testing.T) {
	said := 0
	h := &hasty{}
	w := newStatusWriter(h, nil, "node1", nil, func() report { said++; return report{version: strconv.Itoa(said)} }, logr.Discard())
	h.statuses.news = w.observe
	w.base = &v1beta1.Speaker{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "1"}}
	for v := range 20 {
		h.statuses.versions = []string{strconv.Itoa(2 + v)}
		if err := w.write(t.Context()); err != nil {
			t.Fatal(err)
		}
		if w.edits != 0 || w.wait() != w.pause || w.base.ResourceVersion != h.statuses.versions[0] {
			t.Fatalf("after %d writes of its own: %d edits, it waits %s, at version %s", v+1, w.edits, w.wait(), w.base.ResourceVersion)
		}
	}
	h.statuses.versions = []string{"30", "31"}
	if err := w.write(t.Context()); err != nil || w.edits != 1 || w.base != nil || len(w.kick) != 1 {
		t.Errorf("%d edits, want that of somebody else during the write; it holds the object for known: %t: %v", w.edits, w.base != nil, err)
	}
}
