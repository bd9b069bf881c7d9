package metallb

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/validation"
)

// names that are taken, of each kind.
type names map[string]map[string]bool

// take a name for an object of a kind, or the first free one like it: web, web-2, web-3. What comes first has the name, so that the order of
// the calls must not depend on chance.
func (n names) take(kind, wanted string) string {
	taken := n[kind]
	if taken == nil {
		taken = map[string]bool{}
		n[kind] = taken
	}
	base := objectName(wanted)
	name := base
	for i := 2; taken[name]; i++ {
		suffix := fmt.Sprintf("-%d", i)
		name = strings.TrimRight(base[:min(len(base), validation.DNS1123SubdomainMaxLength-len(suffix))], "-.") + suffix
	}
	taken[name] = true
	return name
}

// objectName makes a name that an object may have: the text itself if it is one.
func objectName(s string) string {
	if len(validation.IsDNS1123Subdomain(s)) == 0 {
		return s
	}
	var b strings.Builder
	for _, r := range strings.ToLower(s) {
		if r < utf8.RuneSelf && (r >= 'a' && r <= 'z' || r >= '0' && r <= '9') {
			b.WriteRune(r)
		} else {
			b.WriteByte('-')
		}
	}
	name := strings.Trim(b.String(), "-")
	if len(name) == 0 || len(name) > validation.DNS1123SubdomainMaxLength {
		sum := sha256.Sum256([]byte(s))
		name = strings.TrimRight("imported-"+name[:min(len(name), 200)], "-") + "-" + hex.EncodeToString(sum[:4])
	}
	return name
}
