package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/allocation"
	"fairlead.io/fairlead/internal/endpoints"
	"fairlead.io/fairlead/internal/move"
	"fairlead.io/fairlead/internal/service"
	"fairlead.io/fairlead/internal/workload"
)

// stepsThere does each step of a move from MetalLB. Each looks at what it is about, and does what is left of it.
func (m *mover) stepsThere() map[move.ID]func(context.Context) error {
	return map[move.ID]func(context.Context) error{
		move.Remember: m.remember(m.state.Controllers),
		move.ImportQuiet: func(ctx context.Context) error {
			return m.write(ctx, func(o *unstructured.Unstructured) bool { return !announces(o) })
		},
		move.StopControllers: func(ctx context.Context) error {
			// The webhooks first: their programs go with the controller.
			if err := m.changeHooks(ctx, move.Silence, "is no longer called", "was not called any more"); err != nil {
				return err
			}
			return m.stopAll(ctx, m.input.MetalLB, workload.Deployment)
		},
		move.StartController: func(ctx context.Context) error {
			if err := m.startAll(ctx, m.input.Fairlead, workload.Deployment, move.DefaultReplicas); err != nil {
				return err
			}
			return m.adopted(ctx)
		},
		move.StartSpeakers: func(ctx context.Context) error {
			if err := m.startAll(ctx, m.input.Fairlead, workload.DaemonSet, 0); err != nil {
				return err
			}
			return m.somewhere(ctx)
		},
		move.StopSpeakers: func(ctx context.Context) error { return m.stopAll(ctx, m.input.MetalLB, workload.DaemonSet) },
		move.ImportAnnouncing: func(ctx context.Context) error {
			return m.write(ctx, announces)
		},
		move.Verify: m.verify,
	}
}

// write those of the imported objects that are wanted.
func (m *mover) write(ctx context.Context, wanted func(*unstructured.Unstructured) bool) error {
	var list []planned
	err := m.wait(ctx, quick, func(ctx context.Context) (bool, error) {
		list = nil
		for _, p := range m.converts.list {
			if wanted(p.object) {
				list = append(list, p)
			}
		}
		return true, (&planner{m.cluster.dynamic}).write(ctx, list)
	}, func() string { return "the API server has not answered" })
	for _, p := range list {
		m.did("%s %s", nameOf(p.object), p.action)
	}
	if len(list) == 0 {
		m.did("there are none")
	}
	return err
}

// adopted waits until Fairlead's controller has taken over what Services have, and ends the move when it gives one something else: while
// MetalLB's speakers still announce.
func (m *mover) adopted(ctx context.Context) error {
	var waits []string
	err := m.wait(ctx, slow, func(ctx context.Context) (bool, error) {
		list, err := m.services(ctx)
		if err != nil {
			return false, err
		}
		if changed := m.record.Changed(list); len(changed) > 0 {
			return false, errors.New(strings.Join(changed, "; "))
		}
		waits = nil
		for _, svc := range m.record.Of(list) {
			if c := meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionAddressAssigned); m.class().Ours(svc) && (c == nil || c.Status == metav1.ConditionUnknown) {
				waits = append(waits, "Service "+string(allocation.Key(svc)))
			}
		}
		return len(waits) == 0, nil
	}, func() string { return "Fairlead's controller has not looked at " + some(waits) })
	if err == nil {
		m.did("%d Services keep the addresses that they had", len(m.record))
	}
	return err
}

// class of Services that Fairlead's controller serves.
func (m *mover) class() service.Class {
	if u := workload.Find(m.input.Fairlead, workload.Deployment); u != nil {
		return workload.Class(u)
	}
	return service.Class{Name: v1beta1.DefaultLoadBalancerClass}
}

// verify that no address is another one than before, and that each is announced. A Service without endpoints is announced by nobody.
func (m *mover) verify(ctx context.Context) error {
	var dark, empty []string
	err := m.wait(ctx, slow, func(ctx context.Context) (bool, error) {
		s, err := Read(ctx, m.client)
		if err != nil {
			return false, err
		}
		if changed := m.record.Changed(s.Services); len(changed) > 0 {
			return false, errors.New(strings.Join(changed, "; "))
		}
		dark, empty = nil, nil
		endpointSlices := slicesOf(&s)
		for _, svc := range m.record.Of(s.Services) {
			c := meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionAnnounced)
			switch {
			case !m.class().Ours(svc) || c != nil && c.Status == metav1.ConditionTrue:
			case !served(svc, endpointSlices[allocation.Key(svc)]):
				empty = append(empty, string(allocation.Key(svc)))
			case c == nil:
				dark = append(dark, fmt.Sprintf("Service %s has no condition %s", allocation.Key(svc), v1beta1.ConditionAnnounced))
			default:
				dark = append(dark, fmt.Sprintf("Service %s: %s: %s", allocation.Key(svc), c.Reason, c.Message))
			}
		}
		return len(dark) == 0, nil
	}, func() string { return "not everything is announced: " + strings.Join(dark, "; ") })
	if err != nil {
		return err
	}
	m.did("%d Services keep the addresses that they had, and %s announced", len(m.record), are(len(m.record)-len(empty)))
	if !m.darkSince.IsZero() {
		m.did("this was seen %s after MetalLB's speakers began to stop", time.Since(m.darkSince).Round(100*time.Millisecond))
	}
	if len(empty) > 0 {
		m.did("%s without a serving endpoint, so that nobody announces it, as with MetalLB", some(empty))
	}
	return m.finish(ctx)
}

func are(n int) string {
	if n == 1 {
		return "1 is"
	}
	return fmt.Sprintf("%d are", n)
}

// served reports whether a Service has a serving endpoint.
func served(svc *corev1.Service, list []discoveryv1.EndpointSlice) bool {
	view := endpoints.FromSlices(list)
	return slices.ContainsFunc(service.Addresses(svc), view.Any)
}

// some of many names.
func some(names []string) string {
	const most = 10
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// changeHooks of MetalLB, and say that they are so now, or were before.
func (m *mover) changeHooks(ctx context.Context, edit func(*unstructured.Unstructured) (bool, error), now, before string) error {
	for _, k := range m.hooks {
		changed, err := m.edit(ctx, k, edit)
		if err != nil {
			return err
		}
		if changed {
			m.did("ValidatingWebhookConfiguration %s %s", k.key.Name, now)
		} else {
			m.did("ValidatingWebhookConfiguration %s %s", k.key.Name, before)
		}
	}
	return nil
}

// stopAll programs of a kind, and wait until their pods are gone. One that somebody has deleted in the meantime is stopped as well.
func (m *mover) stopAll(ctx context.Context, programs []*unstructured.Unstructured, kind string) error {
	start := time.Now()
	var stopped []*unstructured.Unstructured
	for _, p := range programs {
		if p.GetKind() != kind {
			continue
		}
		changed, err := m.edit(ctx, keyOf(p), move.Stop)
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
		if changed && kind == workload.DaemonSet && m.darkSince.IsZero() {
			m.darkSince = start
		}
		stopped = append(stopped, p)
	}
	if len(stopped) == 0 {
		m.did("there is none")
	}
	for _, p := range stopped {
		if err := m.gone(ctx, p); err != nil {
			return err
		}
		m.did("%s is stopped; nothing of it runs after %s", workload.Name(p), time.Since(start).Round(10*time.Millisecond))
	}
	return nil
}

// startAll programs of a kind, and wait until they are ready.
func (m *mover) startAll(ctx context.Context, programs []*unstructured.Unstructured, kind string, replicas int64) error {
	start := time.Now()
	var started []programKey
	for _, p := range programs {
		if p.GetKind() != kind {
			continue
		}
		if _, err := m.edit(ctx, keyOf(p), func(o *unstructured.Unstructured) (bool, error) { return move.Start(o, replicas) }); err != nil {
			return err
		}
		started = append(started, keyOf(p))
	}
	for _, k := range started {
		if err := m.ready(ctx, k); err != nil {
			return err
		}
		m.did("%s %s is ready after %s", k.kind.Kind, k.key, time.Since(start).Round(10*time.Millisecond))
	}
	return nil
}

// somewhere Fairlead's speakers must run.
func (m *mover) somewhere(ctx context.Context) error {
	for _, p := range m.input.Fairlead {
		if p.GetKind() != workload.DaemonSet {
			continue
		}
		o, err := m.get(ctx, keyOf(p))
		if err != nil {
			return err
		}
		want, _, _ := counts(o)
		if want == 0 {
			return fmt.Errorf("%s has no node to run on: see its nodeSelector and tolerations", workload.Name(o))
		}
		m.did("nodes that it runs on: %d", want)
	}
	return nil
}

// get an object as it is now.
func (m *mover) get(ctx context.Context, k programKey) (*unstructured.Unstructured, error) {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(k.kind)
	if err := m.client.Get(ctx, k.key, o); err != nil {
		return nil, fmt.Errorf("read %s %s: %w", k.kind.Kind, k.key, err)
	}
	return o, nil
}

// edit an object, and report whether there was anything to change.
func (m *mover) edit(ctx context.Context, k programKey, edit func(*unstructured.Unstructured) (bool, error)) (changed bool, err error) {
	err = m.wait(ctx, quick, func(ctx context.Context) (bool, error) {
		o, err := m.get(ctx, k)
		if err != nil {
			return false, err
		}
		if changed, err = edit(o); err != nil || !changed {
			return true, err
		}
		if err := m.client.Update(ctx, o); err != nil {
			return false, fmt.Errorf("change %s %s: %w", k.kind.Kind, k.key, err)
		}
		return true, nil
	}, func() string { return "the API server has not answered" })
	return changed, err
}
