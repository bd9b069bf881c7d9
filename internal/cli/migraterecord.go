package cli

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/internal/metallb"
	"fairlead.io/fairlead/internal/move"
)

// The ConfigMap in Fairlead's namespace that has the addresses from before the move, a line for each Service.
const (
	recordName = "fairlead-migration"
	recordKey  = "addresses"
	// finishedAnnotation says when a move there was found to be complete.
	finishedAnnotation = "fairlead.io/migrated-at"
)

type record = move.Record

func (m *mover) recordMap() *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: m.o.Namespace, Name: recordName}}
}

func (m *mover) readRecord(ctx context.Context) error {
	cm := m.recordMap()
	switch err := m.client.Get(ctx, client.ObjectKeyFromObject(cm), cm); {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("read ConfigMap %s/%s: %w", m.o.Namespace, recordName, err)
	}
	r, err := move.ParseRecord(cm.Data[recordKey])
	if err != nil {
		return fmt.Errorf("read ConfigMap %s/%s: %w: delete it, and the addresses of now are taken for those from before the move", m.o.Namespace, recordName, err)
	}
	m.record, m.finished = r, cm.Annotations[finishedAnnotation]
	m.state.Remembered, m.state.Finished = true, m.finished != ""
	return nil
}

// remember the addresses of now, as long as those are who gave them that the move is away from: later they would prove nothing.
func (m *mover) remember(rules bool) func(context.Context) error {
	return func(ctx context.Context) error {
		if m.state.Remembered && !rules {
			m.did("ConfigMap %s/%s has those of %d Services", m.o.Namespace, recordName, len(m.record))
			return nil
		}
		list, err := m.services(ctx)
		if err != nil {
			return err
		}
		m.record = move.RecordOf(list)
		cm := m.recordMap()
		err = m.client.Get(ctx, client.ObjectKeyFromObject(cm), cm)
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("read ConfigMap %s/%s: %w", m.o.Namespace, recordName, err)
		}
		exists := err == nil
		text := m.record.Text()
		if exists && cm.Data[recordKey] == text && cm.Annotations[finishedAnnotation] == "" {
			m.did("ConfigMap %s/%s has those of %d Services", m.o.Namespace, recordName, len(m.record))
			return nil
		}
		cm.Labels = map[string]string{metallb.ManagedByLabel: migrateManager}
		cm.Data = map[string]string{recordKey: text}
		delete(cm.Annotations, finishedAnnotation)
		if exists {
			err = m.client.Update(ctx, cm)
		} else {
			err = m.client.Create(ctx, cm)
		}
		if m.o.Back && (apierrors.IsNotFound(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)) { // Fairlead is removed, or being removed, with its namespace
			m.did("%d Services have addresses; there is no namespace %s to remember them in, so that they are compared in this run alone", len(m.record), m.o.Namespace)
			return nil
		}
		if err != nil {
			return fmt.Errorf("write ConfigMap %s/%s: %w", m.o.Namespace, recordName, err)
		}
		m.state.Remembered = true
		m.did("%d Services have addresses; ConfigMap %s/%s has them", len(m.record), m.o.Namespace, recordName)
		return nil
	}
}

// finish notes that all is as it should be.
func (m *mover) finish(ctx context.Context) error {
	if m.finished != "" {
		return nil
	}
	cm := m.recordMap()
	if err := m.client.Get(ctx, client.ObjectKeyFromObject(cm), cm); err != nil {
		return fmt.Errorf("read ConfigMap %s/%s: %w", m.o.Namespace, recordName, err)
	}
	if cm.Annotations == nil {
		cm.Annotations = map[string]string{}
	}
	cm.Annotations[finishedAnnotation] = time.Now().UTC().Format(time.RFC3339)
	if err := m.client.Update(ctx, cm); err != nil {
		return fmt.Errorf("write ConfigMap %s/%s: %w", m.o.Namespace, recordName, err)
	}
	return nil
}

func (m *mover) forgetRecord(ctx context.Context) error {
	if err := m.client.Delete(ctx, m.recordMap()); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete ConfigMap %s/%s: %w", m.o.Namespace, recordName, err)
	}
	return nil
}
