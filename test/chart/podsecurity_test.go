package chart

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestPodSecurity: the pod security standard "restricted" takes the controller as it is, and has of the speaker nothing to object to but what it
// needs: the node's network and its ports, health that is served on the node's loopback alone, and NET_RAW, which takes effect for user 0 alone.
func TestPodSecurity(t *testing.T) {
	c := newCluster(t)
	const strict = "strict"
	c.namespace(strict)
	c.kubectl("label --overwrite namespace " + strict + " pod-security.kubernetes.io/enforce=restricted")
	all := kustomized(t, "default")
	// try has the API server look at a pod of a program, and gives what it says.
	try := func(program string) (says string, err error) {
		t.Helper()
		template, found, err := unstructured.NestedMap(all[program].Object, "spec", "template")
		if err != nil || !found {
			t.Fatalf("%s has no template: %v", program, err)
		}
		pod := &unstructured.Unstructured{Object: template}
		pod.SetAPIVersion("v1")
		pod.SetKind("Pod")
		pod.SetName("tried")
		text, err := json.Marshal(pod)
		if err != nil {
			t.Fatal(err)
		}
		_, says, err = tool(t, c.kubeconfig, strings.NewReader(string(text)), "kubectl", "create", "--dry-run=server", "--namespace="+strict, "--filename=-")
		return says, err
	}
	if says, err := try("Deployment fairlead-controller"); err != nil {
		t.Errorf("the controller is refused: %s", says)
	}
	says, err := try("DaemonSet fairlead-speaker")
	if err == nil {
		t.Fatal("the speaker is let in: is the API server's pod security at work?")
	}
	_, list, found := strings.Cut(strings.TrimSpace(says), `violates PodSecurity "restricted:latest": `)
	if !found {
		t.Fatalf("the speaker is refused for another reason: %s", says)
	}
	var objections []string
	for part := range strings.SplitSeq(list, "), ") {
		name, _, _ := strings.Cut(part, " (")
		objections = append(objections, name)
	}
	slices.Sort(objections)
	if want := []string{"host namespaces", "hostPort", "probe or lifecycle host", "runAsNonRoot != true", "runAsUser=0", "unrestricted capabilities"}; !slices.Equal(objections, want) {
		t.Errorf("objections to the speaker:\n got %q\nwant %q\n%s", objections, want, says)
	}
}
