package doctor

import (
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fairlead.io/fairlead/internal/workload"
)

// image of a program.
func image(o *unstructured.Unstructured) string {
	for _, c := range workload.Containers(o) {
		if s, ok := c["image"].(string); ok {
			return s
		}
	}
	return ""
}

var release = regexp.MustCompile(`^v?\d+\.\d+\.\d+`)

// tag of an image; empty: it has none, or none that names a release.
func tag(image string) string {
	name, _, _ := strings.Cut(image, "@")
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") && release.MatchString(name[i+1:]) {
		return name[i+1:]
	}
	return ""
}

// version of an image should be that of this program.
func (e *examiner) version(o *unstructured.Unstructured) {
	if t := tag(image(o)); t != "" && !sameVersion(t, e.in.Version) {
		e.find(Warning, workload.Name(o), "its image is %s, and this plugin is of version %s: take the kubectl-fairlead of the release that is installed", image(o), e.in.Version)
	}
}

// sameVersion reports whether two versions are one, or it cannot be said of one of them which it is.
func sameVersion(a, b string) bool {
	return !release.MatchString(a) || !release.MatchString(b) || strings.TrimPrefix(a, "v") == strings.TrimPrefix(b, "v")
}
