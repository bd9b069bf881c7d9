package controllers

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The Secret whose key encrypts what the speakers tell each other.
const (
	GossipSecret    = "fairlead-gossip"
	GossipSecretKey = "key"
	gossipKeyBytes  = 32
)

// gossipKey makes the Secret if there is none. It never changes one: when the key is changed is for the administrator to say.
type gossipKey struct {
	reader    client.Reader
	writer    client.Writer
	namespace string
	log       logr.Logger
}

// NeedLeaderElection makes the manager run it with the lease.
func (g *gossipKey) NeedLeaderElection() bool { return true }

// Start tries until the Secret is there.
func (g *gossipKey) Start(ctx context.Context) error {
	backoff := wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Steps: 8, Cap: 30 * time.Second}
	err := backoff.DelayFunc().Until(ctx, true, false, func(ctx context.Context) (bool, error) {
		if err := g.ensure(ctx); err != nil {
			g.log.Error(err, "Cannot make the speakers' gossip key, trying again")
			return false, nil
		}
		return true, nil
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("make Secret %s/%s: %w", g.namespace, GossipSecret, err)
	}
	return nil
}

func (g *gossipKey) ensure(ctx context.Context) error {
	var secret corev1.Secret
	err := g.reader.Get(ctx, client.ObjectKey{Namespace: g.namespace, Name: GossipSecret}, &secret)
	if err == nil {
		if n := len(secret.Data[GossipSecretKey]); n < gossipKeyBytes/2 {
			g.log.Info("The gossip key is too short, so the speakers do not use it: delete the Secret and restart the controller",
				"secret", g.namespace+"/"+GossipSecret, "bytes", n)
		}
		return nil
	}
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("read Secret %s/%s: %w", g.namespace, GossipSecret, err)
	}
	key := make([]byte, gossipKeyBytes)
	if _, err := rand.Read(key); err != nil {
		return fmt.Errorf("make a random key: %w", err)
	}
	secret = corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: g.namespace, Name: GossipSecret, Labels: map[string]string{"app.kubernetes.io/name": "fairlead"}},
		Data:       map[string][]byte{GossipSecretKey: key},
	}
	if err := g.writer.Create(ctx, &secret); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create Secret %s/%s: %w", g.namespace, GossipSecret, err)
	}
	return nil
}
