package membership

import (
	"bytes"

	"github.com/go-logr/logr"
)

// logWriter turns memberlist's log lines, "[WARN] memberlist: …", into logr's details: what matters of them is logged as a
// transition by those who act on it.
type logWriter struct{ log logr.Logger }

func (w logWriter) Write(line []byte) (int, error) {
	text := string(bytes.TrimSpace(line))
	level := 2
	for _, prefix := range []string{"[ERR] ", "[WARN] ", "[INFO] ", "[DEBUG] "} {
		if rest, ok := bytes.CutPrefix([]byte(text), []byte(prefix)); ok {
			if prefix == "[ERR] " || prefix == "[WARN] " {
				level = 1
			}
			text = string(rest)
			break
		}
	}
	w.log.V(level).Info(text)
	return len(line), nil
}
