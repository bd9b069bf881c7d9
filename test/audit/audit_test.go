package audit

import (
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
)

const log = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/a/secrets/key","verb":"get","user":{"username":"c"},"objectRef":{"resource":"secrets","namespace":"a","name":"key","apiVersion":"v1"},"responseStatus":{"code":200}}
{"stage":"ResponseComplete","requestURI":"/apis/fairlead.io/v1beta1/speakers/n/status","verb":"patch","user":{"username":"s"},"objectRef":{"resource":"speakers","name":"n","apiGroup":"fairlead.io","subresource":"status"},"responseStatus":{"code":403}}
{"stage":"ResponseStarted","requestURI":"/livez?verbose","verb":"get","user":{"username":"s"}}
{"stage":"Resp`

func TestRead(t *testing.T) {
	var got []Request
	if err := Read(strings.NewReader(log), func(r Request) { got = append(got, r) }); err != nil {
		t.Fatal(err)
	}
	want := []Request{
		{User: "c", Verb: "get", Resource: "secrets", Namespace: "a", Name: "key", Code: 200},
		{User: "s", Verb: "patch", Group: "fairlead.io", Resource: "speakers/status", Name: "n", Code: 403},
		{User: "s", Verb: "get", Path: "/livez"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("read %v, want %v", got, want)
	}
	if err := Read(strings.NewReader("{}\nnonsense\n"), func(Request) {}); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("a line that is no event: %v", err)
	}
	if got, want := want[1].String(), "s: patch speakers/status of fairlead.io, n (403)"; got != want {
		t.Errorf("told as %q, want %q", got, want)
	}
}

func TestUnused(t *testing.T) {
	rights := slices.Concat(
		Rights("", []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"nodes", "services"}, Verbs: []string{"list", "watch"}},
			{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"get"}},
			{APIGroups: []string{""}, Resources: []string{"pods", "configmaps"}, Verbs: []string{"get"}},
			{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}},
		}),
		Rights("a", []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}, ResourceNames: []string{"key", "other"}},
			{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get", "create"}},
			{APIGroups: []string{""}, Resources: []string{"pods", "configmaps", "pods/status"}, Verbs: []string{"get"}},
		}),
	)
	unused := Unused(rights, []Request{
		{Verb: "watch", Resource: "nodes"},
		{Verb: "list", Resource: "services", Group: "other"},
		{Verb: "get", Resource: "secrets", Namespace: "a", Name: "key"}, // which needs the right to get all of them not
		{Verb: "get", Resource: "pods", Namespace: "a", Name: "x"},      // which needs the right to get those of other namespaces not
		{Verb: "get", Resource: "configmaps", Namespace: "a", Name: "x"},
		{Verb: "get", Resource: "configmaps", Namespace: "b", Name: "x"},
		{Verb: "create", Resource: "secrets", Namespace: "b", Name: "key"},
	})
	var got []string
	for _, r := range unused {
		got = append(got, r.String())
	}
	want := []string{
		"list services", "watch services", "get * of *", "get pods", "get /metrics", "get secrets in namespace a, other", "get secrets in namespace a", "create secrets in namespace a",
		"get pods/status in namespace a",
	}
	if !slices.Equal(got, want) {
		t.Errorf("unused: %q, want %q", got, want)
	}
}
