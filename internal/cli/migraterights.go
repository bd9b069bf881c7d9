package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/metallb"
)

// right to do something, in the terms of RBAC.
type right struct {
	verbs, group, resource, namespace string
}

// mayRead asks whether the user may read all that a move looks at.
func (m *mover) mayRead(ctx context.Context) error {
	rights := []right{
		{"list", "apps", "deployments", ""}, {"list", "apps", "daemonsets", ""}, {"list", "", "services", ""}, {"list", "", "namespaces", ""},
		{"list", "", "nodes", ""}, {"list", "discovery.k8s.io", "endpointslices", ""}, {"list", "admissionregistration.k8s.io", "validatingwebhookconfigurations", ""},
		{"list", metallb.Group, "ipaddresspools", ""}, {"list", v1beta1.GroupVersion.Group, "ipaddresspools", ""},
		{"get", "", "configmaps", "kube-system"}, {"list", "", "pods", "kube-system"}, {"get", "", "configmaps", m.o.Namespace},
	}
	return m.may(ctx, rights)
}

// mayWrite asks whether the user may do all that a move does, before any of it is done.
func (m *mover) mayWrite(ctx context.Context) error {
	theirs := m.input.Imported.Programs.Namespace
	rights := []right{
		{"get update", "apps", "deployments", theirs}, {"get update", "apps", "daemonsets", theirs}, {"list", "", "pods", theirs},
		{"get update", "apps", "deployments", m.o.Namespace}, {"get update", "apps", "daemonsets", m.o.Namespace}, {"list", "", "pods", m.o.Namespace},
		{"create update delete", "", "configmaps", m.o.Namespace},
		{"get update", "admissionregistration.k8s.io", "validatingwebhookconfigurations", ""},
	}
	imported := func(verbs string) {
		for _, kind := range []string{"ipaddresspools", "l2advertisements", "bgpadvertisements", "bgppeers", "bfdprofiles", "communities"} {
			rights = append(rights, right{verbs, v1beta1.GroupVersion.Group, kind, ""})
		}
	}
	switch {
	case m.o.RemoveImported:
		imported("list delete")
		rights = append(rights, right{"get update", v1beta1.GroupVersion.Group, "ipaddresspools", ""}, right{"list delete", "", "secrets", m.o.Namespace})
	case !m.o.Back:
		imported("get create patch")
		if len(m.converts.result.Secrets) > 0 {
			rights = append(rights, right{"get create patch", "", "secrets", m.o.Namespace})
		}
	}
	return m.may(ctx, rights)
}

func (m *mover) may(ctx context.Context, rights []right) error {
	var lacks []string
	for _, r := range rights {
		var verbs []string
		for verb := range strings.FieldsSeq(r.verbs) {
			review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
				Verb: verb, Group: r.group, Resource: r.resource, Namespace: r.namespace,
			}}}
			if err := m.client.Create(ctx, review); err != nil {
				return fmt.Errorf("ask what you may do: %w", err)
			}
			if !review.Status.Allowed {
				verbs = append(verbs, verb)
			}
		}
		if len(verbs) > 0 {
			lacks = append(lacks, r.text(strings.Join(verbs, ", ")))
		}
	}
	if len(lacks) > 0 {
		return errors.New("you may not do what a move takes: " + strings.Join(lacks, "; ") + ". Ask who administers the cluster for these rights, or use another kubeconfig. Nothing was changed")
	}
	return nil
}

func (r right) text(verbs string) string {
	resource := r.resource
	if r.group != "" {
		resource += "." + r.group
	}
	if r.namespace == "" {
		return verbs + " " + resource
	}
	return fmt.Sprintf("%s %s in namespace %s", verbs, resource, r.namespace)
}
