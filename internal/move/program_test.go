package move_test

import (
	"reflect"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"fairlead.io/fairlead/internal/move"
	"fairlead.io/fairlead/internal/workload"
)

func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err == nil {
		err = o.UnmarshalJSON(raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// What is stopped asks for no pod, and started again it is what it was.
func TestStopAndStart(t *testing.T) {
	for name, text := range map[string]string{
		"controller":        "{apiVersion: apps/v1, kind: Deployment, metadata: {name: c, namespace: sys}, spec: {replicas: 3}}",
		"annotated":         "{apiVersion: apps/v1, kind: Deployment, metadata: {name: c, namespace: sys, annotations: {k: v}}, spec: {replicas: 1}}",
		"scaled to nothing": "{apiVersion: apps/v1, kind: Deployment, metadata: {name: c, namespace: sys}, spec: {replicas: 0}}",
		"no selector":       "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: s, namespace: sys}, spec: {template: {spec: {nodeSelector: {}}}}}",
		"speaker":           "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: s, namespace: sys}, spec: {template: {spec: {nodeSelector: {kubernetes.io/os: linux}}}}}",
	} {
		t.Run(name, func(t *testing.T) {
			o := object(t, text)
			before := o.DeepCopy()
			if changed, err := move.Stop(o); err != nil || !changed || workload.Runs(o) || !move.Kept(o) {
				t.Fatal(err, changed, o.Object)
			}
			if changed, err := move.Stop(o); err != nil || changed {
				t.Error("stopped twice:", err, o.Object)
			}
			if changed, err := move.Start(o, 0); err != nil || !changed || move.Kept(o) {
				t.Fatal(err, changed, o.Object)
			}
			if len(o.GetAnnotations()) == 0 && len(before.GetAnnotations()) == 0 { // as the API server has it
				o.SetAnnotations(nil)
			}
			if !reflect.DeepEqual(o.Object, before.Object) {
				t.Errorf("it is %v and was %v", o.Object, before.Object)
			}
			if changed, err := move.Start(o, 0); err != nil || changed {
				t.Error("started twice:", err, o.Object)
			}
		})
	}
}

func TestStart(t *testing.T) {
	const deployment = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: c, namespace: sys, annotations: {fairlead.io/stopped-replicas: \"KEPT\"}}, spec: {replicas: NOW}}"
	for name, tc := range map[string]struct {
		kept, now string
		want      int64
		err       string
	}{
		"scaled up by somebody": {"1", "4", 4, ""},
		"no number":             {"many", "0", 0, `annotation fairlead.io/stopped-replicas of Deployment sys/c is "many" and no number of replicas: correct it`},
		"less than none":        {"-1", "0", 0, "no number of replicas"},
	} {
		t.Run(name, func(t *testing.T) {
			o := object(t, strings.NewReplacer("KEPT", tc.kept, "NOW", tc.now).Replace(deployment))
			_, err := move.Start(o, 0)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Error(err)
				}
				return
			}
			if n, _, _ := unstructured.NestedInt64(o.Object, "spec", "replicas"); err != nil || n != tc.want || move.Kept(o) {
				t.Error(err, o.Object)
			}
		})
	}
	held := object(t, "{apiVersion: apps/v1, kind: Deployment, metadata: {name: c, namespace: sys}, spec: {replicas: 0}}")
	stopped := held.DeepCopy() // on the way back, before it ever ran
	if changed, err := move.Start(held, move.DefaultReplicas); err != nil || !changed || !workload.Runs(held) {
		t.Error(err, held.Object)
	}
	if _, err := move.Stop(stopped); err != nil {
		t.Fatal(err)
	}
	if changed, err := move.Start(stopped, move.DefaultReplicas); err != nil || !changed || workload.Replicas(stopped) != move.DefaultReplicas || move.Kept(stopped) {
		t.Error(err, stopped.Object)
	}
}

func TestWebhooks(t *testing.T) {
	o := object(t, `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: w}
webhooks:
- {name: a, clientConfig: {service: {namespace: sys, name: s}}, failurePolicy: Fail}
- {name: b, clientConfig: {service: {namespace: sys, name: s}}, matchConditions: [{name: x, expression: "true"}]}
`)
	before := o.DeepCopy()
	if !move.CallsInto(o, "sys") || move.CallsInto(o, "m") || move.Silenced(o) {
		t.Error(o.Object)
	}
	if changed, err := move.Silence(o); err != nil || !changed || !move.Silenced(o) {
		t.Error(err, o.Object)
	}
	if changed, err := move.Silence(o); err != nil || changed {
		t.Error("silenced twice:", err, o.Object)
	}
	if changed, err := move.Call(o); err != nil || !changed || !reflect.DeepEqual(o.Object, before.Object) {
		t.Errorf("%v: it is %v and was %v", err, o.Object, before.Object)
	}
	if changed, err := move.Call(o); err != nil || changed {
		t.Error("called twice:", err, o.Object)
	}
}
