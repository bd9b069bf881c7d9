package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"

	"fairlead.io/fairlead/api/v1beta1"
)

// ReadFiles takes a snapshot from files of YAML or JSON, as kubectl get -o yaml writes them; "-" is stdin. Objects of kinds that do not
// matter are skipped.
func ReadFiles(paths []string, stdin io.Reader) (Snapshot, error) {
	var s Snapshot
	scheme, err := newScheme()
	if err != nil {
		return s, err
	}
	decoder := serializer.NewCodecFactory(scheme).UniversalDeserializer()
	return s, eachDocument(paths, stdin, func(_ string, doc []byte) error { return s.add(doc, decoder) })
}

// eachDocument hands out the documents of the files, each with words that say where it is. The first error ends it.
func eachDocument(paths []string, stdin io.Reader, do func(where string, doc []byte) error) error {
	for _, path := range paths {
		if err := eachDocumentOf(path, stdin, do); err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
	}
	return nil
}

func eachDocumentOf(path string, stdin io.Reader, do func(where string, doc []byte) error) error {
	r := stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return err //nolint:wrapcheck // the caller names the file
		}
		defer f.Close()
		r = f
	}
	documents := yaml.NewYAMLReader(bufio.NewReader(r))
	for i := 1; ; i++ {
		doc, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = do(fmt.Sprintf("%s, document %d", path, i), doc)
		}
		if err != nil {
			return fmt.Errorf("document %d: %w", i, err)
		}
	}
}

// add what a document has.
func (s *Snapshot) add(doc []byte, decoder runtime.Decoder) error {
	raw, err := yaml.ToJSON(doc)
	if err != nil {
		return fmt.Errorf("parse: %w", err)
	}
	if string(raw) == "null" { // comments, or nothing
		return nil
	}
	o, _, err := decoder.Decode(raw, nil, nil)
	switch {
	case runtime.IsNotRegisteredError(err):
		return nil
	case err != nil:
		return fmt.Errorf("parse: %w", err)
	}
	return s.addObject(o, decoder)
}

// addObject adds an object, or each object of a list.
func (s *Snapshot) addObject(o runtime.Object, decoder runtime.Decoder) error {
	switch o := o.(type) {
	case *v1beta1.IPAddressPool:
		s.Pools = append(s.Pools, *o)
	case *v1beta1.L2Advertisement:
		s.L2Advertisements = append(s.L2Advertisements, *o)
	case *v1beta1.BGPAdvertisement:
		s.BGPAdvertisements = append(s.BGPAdvertisements, *o)
	case *v1beta1.BGPPeer:
		s.BGPPeers = append(s.BGPPeers, *o)
	case *v1beta1.BFDProfile:
		s.BFDProfiles = append(s.BFDProfiles, *o)
	case *v1beta1.Community:
		s.Communities = append(s.Communities, *o)
	case *v1beta1.Speaker:
		s.Speakers = append(s.Speakers, *o)
	case *corev1.Service:
		if o.Namespace == "" {
			o.Namespace = corev1.NamespaceDefault
		}
		s.Services = append(s.Services, *o)
	case *corev1.Namespace:
		s.Namespaces = append(s.Namespaces, *o)
	case *corev1.Node:
		s.Nodes = append(s.Nodes, *o)
	case *discoveryv1.EndpointSlice:
		if o.Namespace == "" {
			o.Namespace = corev1.NamespaceDefault
		}
		s.EndpointSlices = append(s.EndpointSlices, *o)
	case *corev1.List:
		for i := range o.Items {
			if err := s.add(o.Items[i].Raw, decoder); err != nil {
				return fmt.Errorf("items[%d]: %w", i, err)
			}
		}
	default:
		if meta.IsListType(o) {
			return meta.EachListItem(o, func(item runtime.Object) error { return s.addObject(item, decoder) }) //nolint:wrapcheck // from addObject
		}
	}
	return nil
}
