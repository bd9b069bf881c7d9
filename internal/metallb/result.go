package metallb

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"

	"fairlead.io/fairlead/api/v1beta1"
)

// What marks an object as imported.
const (
	// ManagedByLabel has the value ManagedBy.
	ManagedByLabel = "app.kubernetes.io/managed-by"
	ManagedBy      = "fairlead-import"
	// ImportedFromAnnotation names the source, as "IPAddressPool metallb-system/web".
	ImportedFromAnnotation = "fairlead.io/imported-from"
)

// Result is what the objects come to. Each list has the oldest first, because of two objects that contradict each other the older counts.
type Result struct {
	Pools             []v1beta1.IPAddressPool
	L2Advertisements  []v1beta1.L2Advertisement
	BGPAdvertisements []v1beta1.BGPAdvertisement
	BGPPeers          []v1beta1.BGPPeer
	BFDProfiles       []v1beta1.BFDProfile
	Communities       []v1beta1.Community
	Secrets           []corev1.Secret
	// Services that MetalLB serves, as they were read.
	Services []corev1.Service
	Programs Programs
	Report   Report
}

// Objects are all of them, in an order in which each finds what it needs. They have what a person would write, and no status.
func (r *Result) Objects() ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	for _, list := range []any{r.Secrets, r.Communities, r.BFDProfiles, r.BGPPeers, r.Pools, r.L2Advertisements, r.BGPAdvertisements} {
		raw, err := json.Marshal(list)
		if err != nil {
			return nil, fmt.Errorf("write what was imported: %w", err)
		}
		var objects []Object
		if err := json.Unmarshal(raw, &objects); err != nil {
			return nil, fmt.Errorf("write what was imported: %w", err)
		}
		for _, o := range objects {
			delete(o, "status")
			u := &unstructured.Unstructured{Object: o}
			unstructured.RemoveNestedField(o, "metadata", "creationTimestamp")
			out = append(out, u)
		}
	}
	return out, nil
}

// meta of an object that is made of a source.
func (s *source) meta(name string) metav1.ObjectMeta {
	labels := map[string]string{ManagedByLabel: ManagedBy}
	for k, v := range s.labels {
		if k != ManagedByLabel {
			labels[k] = v
		}
	}
	return metav1.ObjectMeta{Name: name, Labels: labels, Annotations: map[string]string{ImportedFromAnnotation: s.item.Source},
		CreationTimestamp: s.created}
}

func typeMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: v1beta1.GroupVersion.String(), Kind: kind}
}

// byAge sorts the oldest first; objects of one age by name.
func byAge[T any](list []T, meta func(*T) *metav1.ObjectMeta) {
	slices.SortStableFunc(list, func(a, b T) int {
		x, y := meta(&a), meta(&b)
		return cmp.Or(x.CreationTimestamp.Compare(y.CreationTimestamp.Time), cmp.Compare(x.Name, y.Name))
	})
}

func (r *Result) sort() {
	byAge(r.Pools, func(o *v1beta1.IPAddressPool) *metav1.ObjectMeta { return &o.ObjectMeta })
	byAge(r.L2Advertisements, func(o *v1beta1.L2Advertisement) *metav1.ObjectMeta { return &o.ObjectMeta })
	byAge(r.BGPAdvertisements, func(o *v1beta1.BGPAdvertisement) *metav1.ObjectMeta { return &o.ObjectMeta })
	byAge(r.BGPPeers, func(o *v1beta1.BGPPeer) *metav1.ObjectMeta { return &o.ObjectMeta })
	byAge(r.BFDProfiles, func(o *v1beta1.BFDProfile) *metav1.ObjectMeta { return &o.ObjectMeta })
	byAge(r.Communities, func(o *v1beta1.Community) *metav1.ObjectMeta { return &o.ObjectMeta })
	byAge(r.Secrets, func(o *corev1.Secret) *metav1.ObjectMeta { return &o.ObjectMeta })
}
