package controllers

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/allocation"
)

// tellDisputes tells a Service of the conflicts that are new to it. It is called before the condition is written: the other reconciler may
// read the condition at once, and would take it that the Service was told.
func tellDisputes(ctx context.Context, b *Book, recorder events.EventRecorder, svc *corev1.Service, a announcement) {
	var sentences []string
	for _, addr := range b.disputed(svc, slices.SortedFunc(maps.Keys(a.disputes), netip.Addr.Compare)) {
		sentences = append(sentences, a.disputes[addr])
	}
	if len(sentences) == 0 {
		return
	}
	text := cut(strings.Join(sentences, "; "))
	log.FromContext(ctx).Info("Another host on the network uses an address of the Service", "message", text)
	recorder.Eventf(svc, nil, corev1.EventTypeWarning, v1beta1.ReasonAddressConflict, actionAnnounce, "%s", text)
}

// disputed notes which of a Service's addresses another host uses, and returns those that it was not told of. What it was told before a
// restart only its condition knows; afterwards the cache may be behind the condition, and the Book is not.
func (b *Book) disputed(svc *corev1.Service, now []netip.Addr) (news []netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := allocation.Key(svc)
	x := b.known[k]
	if x.uid != svc.UID && x.uid != "" { // made anew under its name
		x = known{}
	}
	if len(now) == 0 && len(x.disputed) == 0 {
		return nil
	}
	c := meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionAnnounced)
	toldBefore := len(x.disputed) == 0 && c != nil && c.Reason == v1beta1.ReasonAddressConflict
	for _, addr := range now {
		if !toldBefore && !slices.Contains(x.disputed, addr) {
			news = append(news, addr)
		}
	}
	x.uid, x.disputed = svc.UID, now
	b.known[k] = x
	return news
}
