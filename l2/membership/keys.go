package membership

import (
	"errors"
	"fmt"
	"slices"
)

// KeySize is the size in bytes of the gossip's keys (AES-256).
const KeySize = 32

func checkKeys(keys [][]byte) error {
	if len(keys) == 0 {
		return errors.New("there is no key")
	}
	for _, k := range keys {
		if len(k) != KeySize {
			return fmt.Errorf("a key has %d bytes, it must have %d", len(k), KeySize)
		}
	}
	return nil
}

// SetKeys changes the keys while the gossip goes on: the first encrypts what is sent, each of them decrypts. Nobody is lost as long as
// every member knows the key that another one sends with.
func (m *Membership) SetKeys(keys [][]byte) error {
	if err := checkKeys(keys); err != nil {
		return fmt.Errorf("change the gossip's keys: %w", err)
	}
	var errs []error
	for _, k := range keys {
		errs = append(errs, m.keyring.AddKey(k))
	}
	errs = append(errs, m.keyring.UseKey(keys[0]))
	for _, k := range m.keyring.GetKeys() {
		if !slices.ContainsFunc(keys, func(o []byte) bool { return slices.Equal(o, k) }) {
			errs = append(errs, m.keyring.RemoveKey(k))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("change the gossip's keys: %w", err)
	}
	return nil
}
