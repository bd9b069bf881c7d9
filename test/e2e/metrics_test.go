package e2e

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// testMetrics: every pod of both programs gives its metrics to those who may read them, as Prometheus asks, and to nobody else.
func testMetrics(t *testing.T) {
	s := newScenario(t)
	token := func(account string) string {
		t.Helper()
		a := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: account}}
		s.create(a)
		request := &authenticationv1.TokenRequest{}
		s.Expect(cluster.SubResource("token").Create(s.ctx, a, request)).To(Succeed())
		return request.Status.Token
	}
	reader, nobody := token("reader"), token("nobody")
	s.create(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: s.namespace},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "fairlead-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: s.namespace, Name: "reader"}},
	})
	allowed := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: "system:serviceaccount:" + s.namespace + ":reader", NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: "/metrics", Verb: "get"}}}
	s.Eventually(func() (bool, error) { // who asks too early is refused, and that is remembered for a while
		review := allowed.DeepCopy()
		err := cluster.Create(s.ctx, review)
		return review.Status.Allowed, err
	}).Should(BeTrue(), "the API server knows of the reader's right")
	node1, err := theLab.Host("node1") // from which the pods' own network is reached too
	s.Expect(err).NotTo(HaveOccurred())
	var pods corev1.PodList
	s.Expect(cluster.List(s.ctx, &pods, client.InNamespace(system), client.MatchingLabels{"app.kubernetes.io/name": "fairlead"})).To(Succeed())
	seen := map[string]int{}
	for i := range pods.Items {
		pod := &pods.Items[i]
		if pod.Status.Phase != corev1.PodRunning || pod.DeletionTimestamp != nil {
			continue
		}
		component := pod.Labels["app.kubernetes.io/component"]
		seen[component]++
		for _, c := range []struct{ token, code string }{{"", "401"}, {"made-up", "401"}, {nobody, "403"}, {reader, "200"}} {
			args := []string{"curl", "-sk", "--max-time", "10", "-w", "\n%{http_code}"}
			if c.token != "" {
				args = append(args, "-H", "Authorization: Bearer "+c.token)
			}
			answer, err := node1.Exec(s.ctx, append(args, "https://"+pod.Status.PodIP+":9790/metrics")...)
			s.Expect(err).NotTo(HaveOccurred())
			s.Expect(answer.Stdout).To(HaveSuffix("\n"+c.code), "%s", pod.Name)
			s.Expect(strings.Contains(answer.Stdout, "fairlead_build_info{")).To(Equal(c.code == "200"), "%s", pod.Name)
		}
	}
	s.Expect(seen).To(And(HaveKey("controller"), HaveKey("speaker")))
}
