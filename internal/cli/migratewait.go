package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/internal/workload"
)

// How often a condition is looked at: quick while nobody announces.
const (
	quick = 50 * time.Millisecond
	slow  = 250 * time.Millisecond
)

// wait until a condition holds. What it waits for is asked when it has waited for too long. An API server that does not answer for a while
// is waited for as well: the worst time to give up is when nobody announces.
func (m *mover) wait(ctx context.Context, every time.Duration, done func(context.Context) (bool, error), what func() string) error {
	ctx, cancel := context.WithTimeout(ctx, m.o.Timeout)
	defer cancel()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	var last error // of the last look that was not cut short by the end of waiting
	for {
		ok, err := done(ctx)
		if err == nil && ok {
			return nil
		}
		if ctx.Err() == nil {
			if err != nil && !transient(err) {
				return err
			}
			last = err
		}
		select {
		case <-ctx.Done():
			switch {
			case errors.Is(ctx.Err(), context.Canceled):
				return context.Cause(ctx)
			case last != nil:
				return fmt.Errorf("waited %s: %w", m.o.Timeout, last)
			}
			return fmt.Errorf("waited %s: %s", m.o.Timeout, what())
		case <-ticker.C:
		}
	}
}

// transient reports whether an error is one that passes: the API server cannot be reached, or is busy.
func transient(err error) bool {
	var unreached *url.Error
	return errors.As(err, &unreached) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err) ||
		apierrors.IsServiceUnavailable(err) || apierrors.IsInternalError(err) || apierrors.IsConflict(err)
}

// gone waits until a program that was stopped, or deleted, has no pods that run. One that somebody starts again is not waited for.
func (m *mover) gone(ctx context.Context, p *unstructured.Unstructured) error {
	k := keyOf(p)
	var left []string
	return m.wait(ctx, quick, func(ctx context.Context) (bool, error) {
		o, err := m.get(ctx, k)
		deleted := apierrors.IsNotFound(err)
		if deleted {
			o = p // its pods go after it
		} else if err != nil {
			return false, err
		}
		if !deleted && workload.Runs(o) {
			return false, fmt.Errorf("somebody has started %s again: find out who manages it, and keep it from that", workload.Name(o))
		}
		pods, err := m.pods(ctx, o)
		if err != nil {
			return false, err
		}
		left = nil
		for i := range pods {
			if ended(&pods[i]) {
				continue
			}
			left = append(left, fmt.Sprintf("%s on node %s", pods[i].Name, pods[i].Spec.NodeName))
		}
		return len(left) == 0 && (deleted || observed(o) && asked(o) == 0), nil
	}, func() string {
		if len(left) == 0 {
			return fmt.Sprintf("Kubernetes has not taken notice that %s %s is stopped: see that kube-controller-manager runs", k.kind.Kind, k.key)
		}
		return fmt.Sprintf("these pods of %s %s are still there: %s. If a node is off for good, delete its pod by kubectl -n %s delete pod NAME --force", k.kind.Kind, k.key, some(left), k.key.Namespace)
	})
}

// ready waits until all of a program's pods are; those on nodes that are not ready themselves are not waited for.
func (m *mover) ready(ctx context.Context, k programKey) error {
	var lacks []string
	return m.wait(ctx, slow, func(ctx context.Context) (bool, error) {
		o, err := m.get(ctx, k)
		if err != nil {
			return false, err
		}
		lacks = nil
		if !observed(o) {
			return false, nil
		}
		want, updated, available := counts(o)
		if updated == want && available == updated {
			return true, nil
		}
		pods, err := m.pods(ctx, o)
		if err != nil {
			return false, err
		}
		down, err := m.down(ctx)
		if err != nil {
			return false, err
		}
		excused := int64(0)
		for i := range pods {
			switch pod := &pods[i]; {
			case podReady(pod):
			case o.GetKind() == workload.DaemonSet && down[pod.Spec.NodeName]:
				excused++
			default:
				lacks = append(lacks, fmt.Sprintf("%s on node %s", pod.Name, pod.Spec.NodeName))
			}
		}
		return len(lacks) == 0 && excused > 0 && updated == want && available+excused == want, nil
	}, func() string {
		if len(lacks) == 0 {
			return fmt.Sprintf("%s %s is not ready, and has no pod that says why: see kubectl -n %s describe %s", k.kind.Kind, k.key, k.key.Namespace, k.kind.Kind)
		}
		return fmt.Sprintf("these pods of %s %s are not ready: %s. See kubectl -n %s describe pod NAME", k.kind.Kind, k.key, some(lacks), k.key.Namespace)
	})
}

// down are the nodes that are not ready.
func (m *mover) down(ctx context.Context) (map[string]bool, error) {
	var nodes corev1.NodeList
	if err := m.client.List(ctx, &nodes); err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	out := map[string]bool{}
	for i := range nodes.Items {
		for _, c := range nodes.Items[i].Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
				out[nodes.Items[i].Name] = true
			}
		}
	}
	return out, nil
}

// pods of a program.
func (m *mover) pods(ctx context.Context, o *unstructured.Unstructured) ([]corev1.Pod, error) {
	raw, _, err := unstructured.NestedMap(o.Object, "spec", "selector")
	var s metav1.LabelSelector
	if err == nil {
		err = runtime.DefaultUnstructuredConverter.FromUnstructured(raw, &s)
	}
	var selector labels.Selector
	if err == nil {
		selector, err = metav1.LabelSelectorAsSelector(&s)
	}
	if err != nil {
		return nil, fmt.Errorf("read the selector of %s: %w", workload.Name(o), err)
	}
	var pods corev1.PodList
	if err := m.client.List(ctx, &pods, client.InNamespace(o.GetNamespace()), client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return nil, fmt.Errorf("list pods in namespace %s: %w", o.GetNamespace(), err)
	}
	return pods.Items, nil
}

// ended reports whether nothing of a pod that is being deleted runs any more, which is some time before it is gone.
func ended(pod *corev1.Pod) bool {
	if pod.DeletionTimestamp.IsZero() || len(pod.Status.ContainerStatuses) == 0 {
		return false
	}
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if c.State.Terminated == nil {
			return false
		}
	}
	return true
}

func podReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// observed reports whether its controller has seen what the program's spec asks for.
func observed(o *unstructured.Unstructured) bool {
	return number(o, "status", "observedGeneration") >= o.GetGeneration()
}

// asked is how many pods a program's controller wants there to be.
func asked(o *unstructured.Unstructured) int64 {
	if o.GetKind() == workload.Deployment {
		return number(o, "status", "replicas")
	}
	return number(o, "status", "desiredNumberScheduled")
}

func counts(o *unstructured.Unstructured) (want, updated, available int64) {
	if o.GetKind() == workload.Deployment {
		want, updated, available = number(o, "spec", "replicas"), number(o, "status", "updatedReplicas"), number(o, "status", "availableReplicas")
		if number(o, "status", "replicas") != want {
			updated = -1 // older ones are still there
		}
		return want, updated, available
	}
	return number(o, "status", "desiredNumberScheduled"), number(o, "status", "updatedNumberScheduled"), number(o, "status", "numberAvailable")
}

func number(o *unstructured.Unstructured, path ...string) int64 {
	n, _, err := unstructured.NestedInt64(o.Object, path...)
	if err != nil {
		return 0
	}
	return n
}
