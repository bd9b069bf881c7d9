package e2e

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"testing"

	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/types"

	"fairlead.io/fairlead/test/audit"
)

// testRights: nothing that Fairlead asked the API server for was forbidden, and, if all tests before have run, it has used all that it may do.
func testRights(t *testing.T, all bool) {
	s := inStanding(t)
	log, err := os.Open(theLab.AuditLog())
	s.Expect(err).NotTo(HaveOccurred())
	s.Cleanup(func() { s.Expect(log.Close()).To(Succeed()) })
	asked := map[string]map[audit.Request]bool{} // by user; equal requests are one
	s.Expect(audit.Read(log, func(r audit.Request) {
		r.Code = 0
		if asked[r.User] == nil {
			asked[r.User] = map[audit.Request]bool{}
		}
		asked[r.User][r] = true
	})).To(Succeed())
	// In a lab that was up before, other runs have taken Fairlead off with its rights before its programs had ended.
	_, err = log.Seek(auditBefore, io.SeekStart)
	s.Expect(err).NotTo(HaveOccurred())
	ours := bufio.NewReader(log)
	if auditBefore > 0 {
		_, err = ours.ReadString('\n') // which may have been half written
		s.Expect(err).NotTo(HaveOccurred())
	}
	s.Expect(audit.Read(ours, func(r audit.Request) {
		if r.Code == http.StatusForbidden {
			s.Errorf("forbidden: %s", r)
		}
	})).To(Succeed())
	for _, account := range []string{"fairlead-controller", speakerProgram} {
		var requests []audit.Request
		for r := range asked["system:serviceaccount:"+system+":"+account] {
			requests = append(requests, r)
		}
		rights := s.rights(account)
		t.Logf("%s: %d rights, %d different requests", account, len(rights), len(requests))
		s.Expect(requests).NotTo(BeEmpty(), "requests of %s", account)
		s.Expect(rights).NotTo(BeEmpty(), "rights of %s", account)
		if !all {
			continue // what the tests that did not run would have needed is not known
		}
		for _, r := range audit.Unused(rights, requests) {
			s.Errorf("%s is allowed what it never does: %s", account, r)
		}
	}
}

// rights of a service account of Fairlead's, as the cluster's bindings give them.
func (s *scenario) rights(account string) []audit.Right {
	s.Helper()
	is := func(subjects []rbacv1.Subject) bool {
		for _, x := range subjects {
			if x.Kind == rbacv1.ServiceAccountKind && x.Namespace == system && x.Name == account {
				return true
			}
		}
		return false
	}
	var rights []audit.Right
	grant := func(namespace string, ref rbacv1.RoleRef) {
		if ref.Kind == "Role" {
			var role rbacv1.Role
			s.Expect(cluster.Get(s.ctx, types.NamespacedName{Namespace: namespace, Name: ref.Name}, &role)).To(Succeed())
			rights = append(rights, audit.Rights(namespace, role.Rules)...)
			return
		}
		var role rbacv1.ClusterRole
		s.Expect(cluster.Get(s.ctx, types.NamespacedName{Name: ref.Name}, &role)).To(Succeed())
		rights = append(rights, audit.Rights(namespace, role.Rules)...)
	}
	var everywhere rbacv1.ClusterRoleBindingList
	s.Expect(cluster.List(s.ctx, &everywhere)).To(Succeed())
	for _, b := range everywhere.Items {
		if is(b.Subjects) {
			grant("", b.RoleRef)
		}
	}
	var bindings rbacv1.RoleBindingList
	s.Expect(cluster.List(s.ctx, &bindings)).To(Succeed())
	for _, b := range bindings.Items {
		if is(b.Subjects) {
			grant(b.Namespace, b.RoleRef)
		}
	}
	return rights
}
