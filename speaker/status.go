package speaker

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/announced"
)

// report is what the Speaker object is to say.
type report struct {
	nodeAddresses []string
	gossipAddress string
	version       string
	interfaces    []v1beta1.SpeakerInterface
	broken        map[string]error // interfaces that cannot be answered on
	layer2        []v1beta1.Layer2Address
	bgp           []v1beta1.BGPSessionStatus
	conflicts     []v1beta1.AddressConflict // one for an address at most, in any order
	synced        bool
	stopping      bool
	settling      bool          // the node has not been healthy for failbackDelay yet
	healthySince  time.Time     // while it settles; zero: it is not healthy
	failbackDelay time.Duration // as --l2-failback-delay says
	dataplane     health
}

// statusWriter keeps this node's Speaker object as it should be: it creates it, and writes its status when that has changed,
// at most once per pause, or less often when somebody else writes it too. It writes nothing per Service.
type statusWriter struct {
	client client.Client
	reader client.Reader // past the cache
	node   string
	uid    func() types.UID // of the Node; empty: not known
	report func() report
	pause  time.Duration
	log    logr.Logger
	kick   chan struct{}
	turn   chan struct{} // held by the one who writes

	mu      sync.Mutex       // guards what follows
	base    *v1beta1.Speaker // as last read or written; nil: not known
	gone    int              // how often the object was not there
	written [8]string        // the versions written last, of which the news may yet come
	writing bool             // what is heard of now may be the write that is under way: the news of it may come before its answer
	heard   []string         // the versions that are
	edits   int              // by somebody else, each within editsApart of the one before
	edited  time.Time        // the last of them
}

const (
	// Edits by somebody else that follow each other faster than editsApart are undone ever less often once there were toleratedEdits: a second
	// speaker with this node's name would write as often, for ever.
	editsApart     = time.Minute
	toleratedEdits = 3
	mostPause      = 30 * time.Second
)

func newStatusWriter(c client.Client, reader client.Reader, node string, uid func() types.UID, r func() report, log logr.Logger) *statusWriter {
	return &statusWriter{client: c, reader: reader, node: node, uid: uid, report: r, pause: 250 * time.Millisecond, log: log, kick: make(chan struct{}, 1),
		turn: make(chan struct{}, 1)}
}

// changed tells that the report may have changed.
func (w *statusWriter) changed() { notify(w.kick) }

// observe tells how the object is in the API server; nil: it is not there. Somebody else's edit is undone.
func (w *statusWriter) observe(s *v1beta1.Speaker) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case s == nil:
		w.gone++
	case w.base != nil && w.base.ResourceVersion == s.ResourceVersion:
		return
	case slices.Contains(w.written[:], s.ResourceVersion):
		if w.base != nil {
			return // older than what is known
		}
	case w.writing:
		w.heard = append(w.heard, s.ResourceVersion)
	case w.base != nil:
		w.edit()
	}
	w.base = s
	w.changed()
}

// edit counts one by somebody else; w.mu is held.
func (w *statusWriter) edit() {
	now := time.Now()
	if now.Sub(w.edited) > editsApart {
		w.edits = 0
	}
	w.edits, w.edited = w.edits+1, now
}

// wrote tells that a write is over, which has made this version; empty: none that is known. It reports whether somebody else edited the object
// meanwhile. w.mu is held.
func (w *statusWriter) wrote(version string) (edited bool) {
	for _, v := range w.heard {
		if v != version {
			w.edit()
			edited = true
		}
	}
	w.writing, w.heard = false, nil
	return edited
}

// wait is the time for which changes are gathered before they are written.
func (w *statusWriter) wait() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.edits <= toleratedEdits || time.Since(w.edited) > editsApart {
		return w.pause
	}
	return min(w.pause<<min(w.edits-toleratedEdits, 16), mostPause)
}

// run writes until the context ends. Failures are tried again, ever less often, and never matter to announcing.
func (w *statusWriter) run(ctx context.Context) {
	retry := time.Duration(0)
	for {
		if retry > 0 {
			select {
			case <-ctx.Done():
				return
			case <-time.After(retry):
			}
		} else {
			select {
			case <-ctx.Done():
				return
			case <-w.kick:
			}
			select { // what else is changing is written at once
			case <-ctx.Done():
				return
			case <-time.After(w.wait()):
			}
		}
		attempt, cancel := context.WithTimeout(ctx, 10*time.Second)
		err := w.write(attempt)
		cancel()
		switch {
		case err == nil:
			retry = 0
		case ctx.Err() == nil:
			if retry == 0 {
				w.log.Info("the Speaker object cannot be written; trying again", "speaker", w.node, "error", err.Error())
			}
			retry = min(max(2*retry, 500*time.Millisecond), 10*time.Second)
		}
	}
}

// write makes the object say what the report says. Writes do not overtake each other: the last one is about the latest state.
func (w *statusWriter) write(ctx context.Context) error {
	select {
	case w.turn <- struct{}{}:
		defer func() { <-w.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	w.mu.Lock()
	base, gone := w.base, w.gone
	w.mu.Unlock()
	if base == nil {
		var err error
		if base, err = w.create(ctx); err != nil {
			return err
		}
	}
	next := base.DeepCopy()
	fill(&next.Status, w.report())
	if !equality.Semantic.DeepEqual(base.Status, next.Status) {
		patch, err := statusPatch(base, next)
		if err == nil {
			w.mu.Lock()
			w.writing = true
			w.mu.Unlock()
			err = w.client.Status().Patch(ctx, next, patch)
		}
		if err != nil {
			w.mu.Lock()
			w.wrote("")
			w.base = nil // read or created anew the next time
			w.mu.Unlock()
			return fmt.Errorf("write the status of Speaker %s: %w", w.node, err)
		}
	}
	w.mu.Lock()
	edited := w.wrote(next.ResourceVersion)
	if w.gone == gone { // else it was deleted meanwhile, and what was written is of no use
		w.base = next
		if edited { // before or after this write: it is read anew
			w.base = nil
			w.changed()
		}
		if v := next.ResourceVersion; w.written[0] != v {
			copy(w.written[1:], w.written[:])
			w.written[0] = v
		}
	}
	w.mu.Unlock()
	return nil
}

// statusPatch changes what has changed. The first one says everything: a difference would leave out what is zero.
func statusPatch(base, next *v1beta1.Speaker) (client.Patch, error) {
	if len(base.Status.Conditions) > 0 {
		return client.MergeFrom(base), nil
	}
	raw, err := json.Marshal(map[string]any{"status": next.Status})
	return client.RawPatch(types.MergePatchType, raw), err
}

// create gives the object as it is, or makes it. The Node owns it, so that it goes with the node.
func (w *statusWriter) create(ctx context.Context) (*v1beta1.Speaker, error) {
	uid := w.uid()
	if uid == "" {
		return nil, fmt.Errorf("create Speaker %s: Node %s is not known yet; --node-name must be the name of a Node", w.node, w.node)
	}
	s := &v1beta1.Speaker{ObjectMeta: metav1.ObjectMeta{Name: w.node, OwnerReferences: []metav1.OwnerReference{
		{APIVersion: "v1", Kind: "Node", Name: w.node, UID: uid},
	}}}
	err := w.client.Create(ctx, s)
	if apierrors.IsAlreadyExists(err) { // the cache does not know yet
		var list v1beta1.SpeakerList // the right to list is there for the cache
		if err := w.reader.List(ctx, &list, client.MatchingFields{"metadata.name": w.node}); err != nil {
			return nil, fmt.Errorf("read Speaker %s: %w", w.node, err)
		}
		if len(list.Items) == 1 {
			return &list.Items[0], nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("create Speaker %s: %w", w.node, err)
	}
	return s, nil
}

// fill writes a report into a status. Times have a resolution of a microsecond in the API, so that an unchanged one stays equal.
func fill(s *v1beta1.SpeakerStatus, r report) {
	s.NodeAddresses, s.GossipAddress, s.Version = r.nodeAddresses, r.gossipAddress, r.version
	s.Interfaces, s.Layer2, s.BGP = r.interfaces, slices.Clone(r.layer2), slices.Clone(r.bgp)
	for i := range s.BGP {
		s.BGP[i].Since = metav1.NewTime(s.BGP[i].Since.Truncate(time.Second)) // its resolution in the API
	}
	for i := range s.Layer2 {
		s.Layer2[i].Since = *s.Layer2[i].Since.DeepCopy()
		s.Layer2[i].Since.Time = s.Layer2[i].Since.Truncate(time.Microsecond)
	}
	s.Layer2Count = int32(len(r.layer2))
	conflicts := sortConflicts(r.conflicts)
	s.Conflicts = conflicts[:min(len(conflicts), v1beta1.MaxAddressConflicts)] // with more the API server would refuse all of the status

	ready := metav1.Condition{Type: v1beta1.SpeakerReady, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonSynced,
		Message: "the speaker has read the cluster's state and acts on it"}
	switch {
	case r.stopping:
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, v1beta1.ReasonStopping, "the speaker is shutting down"
	case !r.synced:
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, v1beta1.ReasonStarting, "the speaker is reading the cluster's state"
	}
	meta.SetStatusCondition(&s.Conditions, ready)
	dataplane := metav1.Condition{Type: v1beta1.SpeakerDataplaneReady, Status: metav1.ConditionFalse, Reason: r.dataplane.Reason, Message: r.dataplane.Message}
	if r.dataplane.Ready {
		dataplane.Status = metav1.ConditionTrue
	}
	meta.SetStatusCondition(&s.Conditions, dataplane)
	meta.SetStatusCondition(&s.Conditions, interfacesCondition(r.broken))
	meta.SetStatusCondition(&s.Conditions, settledCondition(r))
	meta.SetStatusCondition(&s.Conditions, conflictCondition(conflicts))
}

// sortConflicts gives a copy in which those that keep an address from being announced come first: they matter most where not all are shown.
func sortConflicts(list []v1beta1.AddressConflict) []v1beta1.AddressConflict {
	list = slices.Clone(list)
	for i := range list {
		list[i].Since = metav1.NewMicroTime(list[i].Since.Truncate(time.Microsecond))
	}
	slices.SortFunc(list, func(a, b v1beta1.AddressConflict) int {
		if a.Announced != b.Announced {
			if b.Announced {
				return -1
			}
			return 1
		}
		x, _ := netip.ParseAddr(a.IP) // what is no address comes first; the speaker makes none
		y, _ := netip.ParseAddr(b.IP)
		return x.Compare(y)
	})
	return list
}

// conflictCondition of a speaker with these conflicts. It tells of the first ones; who asks for more finds them in the list.
func conflictCondition(list []v1beta1.AddressConflict) metav1.Condition {
	const told = 3
	if len(list) == 0 {
		return metav1.Condition{Type: v1beta1.SpeakerAddressConflict, Status: metav1.ConditionFalse, Reason: v1beta1.ReasonNoConflict,
			Message: "no other host on the network was seen to use an address that this node is to answer for"}
	}
	var claims []string
	for i := range list[:min(len(list), told)] {
		claims = append(claims, announced.Claim(&list[i], ""))
	}
	if len(list) > told {
		claims = append(claims, fmt.Sprintf("and so with %d more (status.conflicts)", len(list)-told))
	}
	return metav1.Condition{Type: v1beta1.SpeakerAddressConflict, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonForeignClaim,
		Message: strings.Join(append(claims, announced.Remedy("")), "; ")}
}

func interfacesCondition(broken map[string]error) metav1.Condition {
	if len(broken) == 0 {
		return metav1.Condition{Type: v1beta1.SpeakerInterfacesReady, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonInterfacesOpen,
			Message: "layer 2 answers on each interface that is usable"}
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(broken)) {
		list = append(list, fmt.Sprintf("%s: %v", name, broken[name]))
	}
	return metav1.Condition{Type: v1beta1.SpeakerInterfacesReady, Status: metav1.ConditionFalse, Reason: v1beta1.ReasonInterfaceFailed,
		Message: "layer 2 cannot answer on, and the node is no candidate for addresses there; it is tried every second: " + strings.Join(list, "; ")}
}

func settledCondition(r report) metav1.Condition {
	if !r.settling {
		return metav1.Condition{Type: v1beta1.SpeakerSettled, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonSettled,
			Message: "addresses come (back) to the node as the election ranks it"}
	}
	since := "has been healthy since " + r.healthySince.UTC().Format(time.RFC3339)
	if r.healthySince.IsZero() {
		since = "is not healthy: see that its data plane is ready and that it reaches most other speakers"
	}
	return metav1.Condition{Type: v1beta1.SpeakerSettled, Status: metav1.ConditionFalse, Reason: v1beta1.ReasonSettling,
		Message: fmt.Sprintf("the node %s; addresses come (back) to it from other nodes when it has been healthy for %s (--l2-failback-delay)", since, r.failbackDelay)}
}
