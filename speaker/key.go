package speaker

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/l2/membership"
)

// Names of the Secret that the controller makes, and of the key in it.
const (
	DefaultGossipSecret = "fairlead-gossip"
	GossipKey           = "key"
)

// waitForKey reads the gossip's key, and waits while there is none: without it this speaker would be alone and announce everything.
func (s *Speaker) waitForKey(ctx context.Context) ([]byte, error) {
	var key []byte
	name := client.ObjectKey{Namespace: s.opts.Namespace, Name: s.opts.GossipSecret}
	err := retry(ctx, s.log, "waiting for the gossip's key", func() error {
		var secret corev1.Secret
		if err := s.mgr.GetAPIReader().Get(ctx, name, &secret); err != nil {
			return fmt.Errorf("read Secret %s, which fairlead-controller makes: %w", name, err)
		}
		key = secret.Data[GossipKey]
		if len(key) != membership.KeySize {
			return fmt.Errorf("the entry %q of Secret %s has %d bytes, it must have %d: delete the Secret, fairlead-controller makes a new one",
				GossipKey, name, len(key), membership.KeySize)
		}
		return nil
	})
	return key, err
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
