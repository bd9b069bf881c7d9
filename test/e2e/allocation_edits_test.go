package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.io/fairlead/api/v1beta1"
)

// What a Service asks for.

// from asks for a pool.
func from(pool string) func(*corev1.Service) {
	return annotated(v1beta1.AnnotationAddressPool, pool)
}

// asking for addresses, by annotation.
func asking(addrs string) func(*corev1.Service) {
	return annotated(v1beta1.AnnotationLoadBalancerIPs, addrs)
}

// asking for an address by spec.loadBalancerIP.
func askingByField(addr string) func(*corev1.Service) {
	return func(svc *corev1.Service) { svc.Spec.LoadBalancerIP = addr }
}

// sharing under a key.
func sharing(key string) func(*corev1.Service) {
	return annotated(v1beta1.AnnotationAllowSharedIP, key)
}

func annotated(key, value string) func(*corev1.Service) {
	return func(svc *corev1.Service) { metav1.SetMetaDataAnnotation(&svc.ObjectMeta, key, value) }
}

func without(annotation string) func(*corev1.Service) {
	return func(svc *corev1.Service) { delete(svc.Annotations, annotation) }
}

func labelled(key, value string) func(*corev1.Service) {
	return func(svc *corev1.Service) { metav1.SetMetaDataLabel(&svc.ObjectMeta, key, value) }
}

func selecting(app string) func(*corev1.Service) {
	return func(svc *corev1.Service) { svc.Spec.Selector = map[string]string{"app": app} }
}

func tcp(port int32) func(*corev1.Service) { return listening(corev1.ProtocolTCP, port) }

func udp(port int32) func(*corev1.Service) { return listening(corev1.ProtocolUDP, port) }

func listening(protocol corev1.Protocol, port int32) func(*corev1.Service) {
	return func(svc *corev1.Service) { svc.Spec.Ports = []corev1.ServicePort{{Protocol: protocol, Port: port}} }
}

func ofType(t corev1.ServiceType) func(*corev1.Service) {
	return func(svc *corev1.Service) { svc.Spec.Type = t }
}

// preferDualStack, with these families in this order, or with those that the cluster puts first.
func preferDualStack(families ...corev1.IPFamily) func(*corev1.Service) {
	return func(svc *corev1.Service) {
		policy := corev1.IPFamilyPolicyPreferDualStack
		svc.Spec.IPFamilyPolicy = &policy
		if len(families) > 0 {
			svc.Spec.IPFamilies = families
		}
	}
}

func singleStack(svc *corev1.Service) {
	policy := corev1.IPFamilyPolicySingleStack
	svc.Spec.IPFamilyPolicy = &policy
}

// What a pool has, and for whom.

type poolEdit = func(*v1beta1.IPAddressPoolSpec)

// spanning these addresses, separated by spaces.
func spanning(addrs string) poolEdit {
	return func(p *v1beta1.IPAddressPoolSpec) { p.Addresses = ranges(addrs) }
}

// except these addresses, separated by spaces.
func except(addrs string) poolEdit {
	return func(p *v1beta1.IPAddressPoolSpec) { p.ExcludeAddresses = ranges(addrs) }
}

func ranges(texts string) []v1beta1.AddressRange {
	var list []v1beta1.AddressRange
	for text := range strings.FieldsSeq(texts) {
		list = append(list, v1beta1.AddressRange(text))
	}
	return list
}

func onlyOnRequest(p *v1beta1.IPAddressPoolSpec) {
	no := false
	p.AutoAssign = &no
}

func avoidingBuggyIPs(p *v1beta1.IPAddressPoolSpec) { p.AvoidBuggyIPs = true }

func disabled(p *v1beta1.IPAddressPoolSpec) { p.Disabled = true }

func enabled(p *v1beta1.IPAddressPoolSpec) { p.Disabled = false }

func sharedAcrossNamespaces(p *v1beta1.IPAddressPoolSpec) { p.AllowCrossNamespaceSharing = true }

func priority(n int32) poolEdit {
	return limited(func(a *v1beta1.ServiceAllocation) { a.Priority = n })
}

func forNamespaces(names ...string) poolEdit {
	return limited(func(a *v1beta1.ServiceAllocation) { a.Namespaces = names })
}

func forNamespacesWith(key, value string) poolEdit {
	return limited(func(a *v1beta1.ServiceAllocation) { a.NamespaceSelectors = selectors(key, value) })
}

func forServicesWith(key, value string) poolEdit {
	return limited(func(a *v1beta1.ServiceAllocation) { a.ServiceSelectors = selectors(key, value) })
}

func selectors(key, value string) []metav1.LabelSelector {
	return []metav1.LabelSelector{{MatchLabels: map[string]string{key: value}}}
}

func limited(edit func(*v1beta1.ServiceAllocation)) poolEdit {
	return func(p *v1beta1.IPAddressPoolSpec) {
		if p.ServiceAllocation == nil {
			p.ServiceAllocation = &v1beta1.ServiceAllocation{}
		}
		edit(p.ServiceAllocation)
	}
}

// leftFromSingleStack makes a SingleStack Service what a cluster has from the time before it became dual stack: PreferDualStack with one
// cluster IP. The API server of a dual-stack cluster makes none and leaves those that it finds, so it is changed where that finds it.
func leftFromSingleStack(name string) step {
	return func(s *stage) {
		s.Eventually(func(g Gomega) {
			svc := s.current(g, name)
			preferDualStack()(svc)
			g.Expect(s.store(svc)).To(Succeed())
		}).Should(Succeed())
		hasOneClusterIP(name)(s)
	}
}

func hasOneClusterIP(name string) step {
	return func(s *stage) {
		svc := s.current(s, name)
		s.Expect(svc.Spec.IPFamilyPolicy).To(HaveValue(Equal(corev1.IPFamilyPolicyPreferDualStack)))
		s.Expect(svc.Spec.ClusterIPs).To(HaveLen(1))
	}
}

// store writes a Service into etcd, in place of the version of it that was read.
func (s *stage) store(svc *corev1.Service) error {
	key := []byte("/registry/services/specs/" + svc.Namespace + "/" + svc.Name)
	read := svc.ResourceVersion
	svc = svc.DeepCopy()
	svc.ResourceVersion = ""
	svc.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Service"))
	value, err := json.Marshal(svc)
	if err != nil {
		return fmt.Errorf("encode Service %s: %w", svc.Name, err)
	}
	type object = map[string]any
	txn, err := json.Marshal(object{
		"compare": []object{{"key": key, "target": "MOD", "result": "EQUAL", "modRevision": read}},
		"success": []object{{"requestPut": object{"key": key, "value": value}}},
	})
	if err != nil {
		return fmt.Errorf("encode a transaction: %w", err)
	}
	req, err := http.NewRequestWithContext(s.ctx, http.MethodPost, "http://127.0.0.1:2379/v3/kv/txn", bytes.NewReader(txn))
	if err != nil {
		return err
	}
	resp, err := s.host("cp").HTTPClient(allocationPatience).Do(req)
	if err != nil {
		return fmt.Errorf("store Service %s: %w", svc.Name, err)
	}
	defer resp.Body.Close()
	var answer struct{ Succeeded bool }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return fmt.Errorf("store Service %s: %s: %w", svc.Name, resp.Status, err)
	}
	if !answer.Succeeded {
		return fmt.Errorf("store Service %s: %s; it has changed since it was read", svc.Name, resp.Status)
	}
	return nil
}
