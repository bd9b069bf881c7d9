package metallb

import (
	"encoding/base64"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.io/fairlead/api/v1beta1"
)

// passwordKey is the key of a password in its Secret, with MetalLB as with us.
const passwordKey = "password"

// gossipSecret is Fairlead's own.
const gossipSecret = "fairlead-gossip"

// password of a peer goes to a Secret, whether it has one already or not.
func (c *converter) password(s *source, peer *v1beta1.BGPPeer) {
	inline := s.spec.text("password")
	var ref string
	if s.version == "v1beta2" {
		ref = c.passwordSecret(s)
	}
	switch {
	case inline != "" && ref != "":
		s.spec.find(Broken, "password", "there is passwordSecret too, and MetalLB refuses both together: remove one of them")
	case inline != "":
		name := c.names.take("Secret", "bgp-password-"+peer.Name)
		s.spec.find(Changes, "password", "it goes to key %s of Secret %s/%s: nobody who may read BGPPeers sees it there", passwordKey, c.options.Namespace, name)
		c.addSecret(s, name, s.item.Source, []byte(inline))
		peer.Spec.PasswordSecretRef = &v1beta1.SecretKeyReference{Name: name, Key: passwordKey}
	case ref != "":
		name := c.copySecret(s, ref)
		peer.Spec.PasswordSecretRef = &v1beta1.SecretKeyReference{Name: name, Key: passwordKey}
	}
}

// passwordSecret is the name in the reference.
func (c *converter) passwordSecret(s *source) string {
	f := s.spec.part("passwordSecret")
	if f == nil {
		return ""
	}
	if ns := f.text("namespace"); ns != "" && ns != c.out.Programs.Namespace {
		f.find(Changes, "namespace", "MetalLB looks for the Secret in its own namespace, %s, whatever stands here, and so does the import", c.out.Programs.Namespace)
	}
	return f.text("name")
}

// copySecret to Fairlead's namespace. Peers that have one Secret in common go on having it.
func (c *converter) copySecret(s *source, ref string) string {
	from := "Secret " + c.out.Programs.Namespace + "/" + ref
	for _, secret := range c.out.Secrets {
		if secret.Annotations[ImportedFromAnnotation] == from {
			return secret.Name
		}
	}
	wanted := ref
	if wanted == gossipSecret {
		wanted = "bgp-" + ref
	}
	obj, exists := c.secrets[ref]
	value, err := secretValue(obj)
	if !exists || err != nil {
		why := "it is not in what was read"
		if exists {
			why = err.Error()
		}
		s.spec.find(NoEquivalent, "passwordSecret.name", "%s cannot be copied, because %s: create Secret %s in namespace %s with the password as key %s; until then the peer is not used, and its status says so",
			from, why, wanted, c.options.Namespace, passwordKey)
		c.passwords[wanted] = map[string][]byte{passwordKey: []byte("unknown")} // so that the rest of the peer is looked at
		return wanted
	}
	if t := text(obj, "type"); t != string(corev1.SecretTypeBasicAuth) {
		s.spec.find(Changes, "passwordSecret.name", "%s is of type %q, which MetalLB refuses; Fairlead takes any", from, t)
	}
	name := c.names.take("Secret", wanted)
	s.spec.find(Changes, "passwordSecret.name", "Secrets are read in Fairlead's own namespace: %s is copied to %s/%s. A later change of the password must be made there", from, c.options.Namespace, name)
	c.addSecret(s, name, from, value)
	return name
}

func (c *converter) addSecret(s *source, name, from string, value []byte) {
	meta := s.meta(name)
	meta.Labels = map[string]string{ManagedByLabel: ManagedBy}
	meta.Namespace, meta.Annotations = c.options.Namespace, map[string]string{ImportedFromAnnotation: from}
	c.passwords[name] = map[string][]byte{passwordKey: value}
	c.out.Secrets = append(c.out.Secrets, corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: meta,
		Type: corev1.SecretTypeOpaque, Data: map[string][]byte{passwordKey: value}})
}

// secretValue is the password in a Secret. An error says nothing of it.
func secretValue(o Object) ([]byte, error) {
	if s := text(o, "stringData", passwordKey); s != "" {
		return []byte(s), nil
	}
	raw, err := base64.StdEncoding.DecodeString(text(o, "data", passwordKey))
	switch {
	case err != nil:
		return nil, fmt.Errorf("its key %s is no base64", passwordKey)
	case len(raw) == 0:
		return nil, fmt.Errorf("it has no key %s, or an empty one", passwordKey)
	}
	return raw, nil
}
