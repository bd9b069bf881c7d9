package speaker

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/l2/membership"
)

// Names of the Secret that the controller makes, and of the keys in it.
const (
	DefaultGossipSecret = "fairlead-gossip"
	// GossipKey is what speakers encrypt with.
	GossipKey = "key"
	// PreviousGossipKey, where it is there, is still understood: for a speaker that starts while others have yet to notice a change.
	PreviousGossipKey = "previous"

	leastSecretBytes = 16
)

// derive a key of membership.KeySize bytes for one purpose from what the Secret has (HKDF with SHA-256, RFC 5869). Two purposes never share a key.
func derive(secret []byte, purpose string) (string, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, "fairlead.io/"+purpose+"/v1", membership.KeySize)
	if err != nil {
		return "", fmt.Errorf("derive the key for %s: %w", purpose, err)
	}
	return string(key), nil
}

// readKey reads the gossip's Secret, and says when the keys change next.
func (s *Speaker) readKey(ctx context.Context) (time.Duration, error) {
	name := client.ObjectKey{Namespace: s.opts.Namespace, Name: s.opts.GossipSecret}
	var secret corev1.Secret
	if err := s.mgr.GetClient().Get(ctx, name, &secret); err != nil {
		if apierrors.IsNotFound(err) {
			s.log.Info("waiting for the gossip's Secret, which fairlead-controller makes", "secret", name.String())
			return 0, nil // what is known already goes on being used
		}
		return 0, fmt.Errorf("read Secret %s: %w", name, err)
	}
	var keys []string
	for _, entry := range []string{GossipKey, PreviousGossipKey} {
		raw, ok := secret.Data[entry]
		if !ok && entry == PreviousGossipKey {
			continue
		}
		if len(raw) < leastSecretBytes {
			s.log.Info("an entry of the gossip's Secret is too short and is not used: put 32 random bytes there, or delete the Secret and restart "+
				"fairlead-controller, which makes a new one", "secret", name.String(), "entry", entry, "bytes", len(raw), "least", leastSecretBytes)
			if entry == GossipKey {
				return 0, nil
			}
			continue
		}
		key, err := derive(raw, "gossip")
		if err != nil {
			return 0, err
		}
		keys = append(keys, key)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.keys.offer(now, keys[0], keys[1:]) {
		s.log.Info("the gossip's key changes", "takesEffectIn", adoptAfter.String())
	}
	current, wait := s.keys.at(now)
	if s.members != nil {
		if err := errors.Join(s.members.SetKeys(current), s.peers.setKeys(current)); err != nil {
			return 0, err
		}
	}
	notify(s.keyRead)
	return wait, nil
}

// gossipKeys waits until there are keys: without one this speaker would be alone and announce everything.
func (s *Speaker) gossipKeys(ctx context.Context) ([][]byte, error) {
	for {
		s.mu.Lock()
		keys, _ := s.keys.at(time.Now())
		s.mu.Unlock()
		if len(keys) > 0 {
			return keys, nil
		}
		select {
		case <-s.keyRead:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// retry calls f, each second, until it succeeds or the context ends. It logs a failure once for each different text.
func retry(ctx context.Context, log logr.Logger, message string, f func() error) error {
	last := ""
	for {
		err := f()
		if err == nil {
			return nil
		}
		if text := err.Error(); text != last && ctx.Err() == nil {
			last = text
			log.Info(message, "error", text)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Second):
		}
	}
}
