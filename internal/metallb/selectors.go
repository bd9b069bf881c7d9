package metallb

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// selectors of labels. They count as one field: an entry in them that is unknown makes the object broken, for without it they would
// select more.
func (f *fields) selectors(name string) []metav1.LabelSelector {
	before := len(f.parts)
	var out []metav1.LabelSelector
	for _, e := range f.entries(name) {
		out = append(out, e.selector())
	}
	f.parts = f.parts[:before]
	return out
}

func (f *fields) selector() metav1.LabelSelector {
	var s metav1.LabelSelector
	if labels := f.part("matchLabels"); labels != nil {
		s.MatchLabels = make(map[string]string, len(labels.m))
		labels.spelling = nil
		for _, k := range sortedKeys(labels.m) {
			s.MatchLabels[k] = labels.text(k)
		}
	}
	for _, e := range f.entries("matchExpressions") {
		s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{
			Key: e.text("key"), Operator: metav1.LabelSelectorOperator(e.text("operator")), Values: e.texts("values")})
		e.nothingElse()
	}
	f.nothingElse()
	return s
}

func (f *fields) nothingElse() {
	for _, k := range f.left() {
		f.item.Find(Broken, f.path+"."+k, "a selector has no such field, and would select more without it: correct it")
	}
}
